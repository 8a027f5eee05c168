"""What the analysis raises instead of returning a number that means nothing."""


class AnalysisError(ValueError):
    """Base of everything raised here: the message names what was found, what is allowed and the fix."""


class DataError(AnalysisError):
    """The table can't be analysed as it is: a missing column, a NaN, a loss that isn't positive, mixed conventions."""


class TooFewRuns(AnalysisError):
    """There are too few runs, sizes or seeds for what was asked; the message says how many are needed."""


class NoMinimum(AnalysisError):
    """An optimum was asked for that the data or the law doesn't have (not bracketed, flat, at the edge)."""


def describe_os_error(error: OSError) -> str:
    """What the system refused, without its number: "No such file or directory: runs.csv"."""
    return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
