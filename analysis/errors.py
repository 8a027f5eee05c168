"""Errors raised in place of a number that would mean nothing."""


class AnalysisError(ValueError):
    """Base of everything raised here: the message names what was found, what is allowed and the fix."""


class DataError(AnalysisError):
    """The table can't be analysed as it is: a missing column, a NaN, a loss that isn't positive, mixed conventions."""


class TooFewRuns(AnalysisError):
    """Too few runs, sizes or seeds for the request; the message says how many are needed."""


class NoMinimum(AnalysisError):
    """The data or the law has no such optimum (not bracketed, flat, at the edge)."""


def describe_os_error(error: OSError) -> str:
    """An error of the operating system without its number: "No such file or directory: runs.csv"."""
    return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
