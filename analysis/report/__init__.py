"""Pages: a study's or a search's declared outputs as one self-contained HTML page with its files.

Draws and computes nothing itself: figures, tables and statistics are those of the packages below."""

from pdstudy.analysis.report.index_page import build_index
from pdstudy.analysis.report.page import Folded, Link, Listing, Page, Section, Text
from pdstudy.analysis.report.search_page import build_search
from pdstudy.analysis.report.study_outputs import Outputs
from pdstudy.analysis.report.study_page import build
from pdstudy.analysis.report.write_report import rewrite_report, write_report

__all__ = [
    "Folded",
    "Link",
    "Listing",
    "Outputs",
    "Page",
    "Section",
    "Text",
    "build",
    "build_index",
    "build_search",
    "rewrite_report",
    "write_report",
]
