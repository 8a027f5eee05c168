"""How a result shows itself in a notebook: by the account that `pdstudy.analysis.summary` gives of it."""

from __future__ import annotations

import html
from importlib import import_module


class Shown:
    """A result whose summary is shown where it is the last line of a notebook's cell."""

    def _repr_html_(self) -> str:
        # By its name: accounts are made of results, and so stand above them.
        summary = import_module("pdstudy.analysis.summary").summary
        return f"<pre>{html.escape(summary(self))}</pre>"
