"""Tables from run directories and from a user's own file: runs, evaluations, answers, trials, points of a fit.

Knows files and their formats, not how they came about; computes no statistic beyond a mean."""

from pdstudy.analysis.data.points import Points, column, points, positive
from pdstudy.analysis.data.runs import answer_summary, arm_summary, load_evaluations, load_metrics, load_runs
from pdstudy.analysis.data.task_answers import Items, load_answers, load_items
from pdstudy.analysis.data.trials_table import Searched

__all__ = [
    "Items",
    "Points",
    "Searched",
    "answer_summary",
    "arm_summary",
    "column",
    "load_answers",
    "load_evaluations",
    "load_items",
    "load_metrics",
    "load_runs",
    "points",
    "positive",
]
