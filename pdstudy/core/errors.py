"""The error that a user can mend, told apart from pdstudy's own faults."""

from __future__ import annotations


class ConfigError(ValueError):
    """A user's input is wrong; the message names the value found, what is allowed, and the fix."""
