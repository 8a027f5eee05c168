"""Studies: a base run, a grid of changes to it, seeds, a baseline, what is measured; and the files that declare them.

A study says which runs there are and what is wrong with them; what they need and cost is `pdstudy.plan`.
"""

from pdstudy.study.collection import Collection as Collection
from pdstudy.study.grid import Arm as Arm
from pdstudy.study.grid import Grid as Grid
from pdstudy.study.grid import arm as arm
from pdstudy.study.grid import axis as axis
from pdstudy.study.study import Cell as Cell
from pdstudy.study.study import Study as Study
from pdstudy.study.study_file import find_study as find_study
from pdstudy.study.study_file import load_study as load_study
