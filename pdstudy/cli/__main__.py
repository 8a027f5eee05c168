"""`python -m pdstudy.cli`: the command `pdstudy`."""

from pdstudy.cli.main import main

if __name__ == "__main__":
    main()
