"""Pages: a study's or a search's declared outputs as one self-contained HTML page with its files.

Draws and computes nothing itself: figures, tables and statistics are those of the packages below."""

from pdstudy.analysis.report.page import Link, Listing, Page, Section, Text
from pdstudy.analysis.report.search_page import build_search
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import build, build_index

__all__ = [
    "Link",
    "Listing",
    "Outputs",
    "Page",
    "Section",
    "Text",
    "build",
    "build_index",
    "build_search",
]
