"""Tables: functions from results to a `Table`, written as CSV, Markdown, LaTeX and HTML.

Computes no statistic of its own beyond means over seeds."""

from pdstudy.analysis.tables.builders import comparison_table, design_table, fit_table, two_baselines
from pdstudy.analysis.tables.finetuned import finetuning_table, load_finetuned
from pdstudy.analysis.tables.paper import loss_beside_paper, paper_gain, paper_table, published, tasks_beside_paper
from pdstudy.analysis.tables.planned_and_spent import cost_table
from pdstudy.analysis.tables.table import Table, TableCell

__all__ = [
    "Table",
    "TableCell",
    "comparison_table",
    "cost_table",
    "design_table",
    "finetuning_table",
    "fit_table",
    "load_finetuned",
    "loss_beside_paper",
    "paper_gain",
    "paper_table",
    "published",
    "tasks_beside_paper",
    "two_baselines",
]
