"""The command line: parses it, carries commands out by the packages below, and is the only place that prints.

It holds no rule of a study, a plan or a cluster: what it shows is data that they return. Others use `main.main` alone.
"""
