"""Declarations of a run and of what is measured of it: frozen classes with their formulas, units and sources.

Nothing here computes, trains or reads more of a disk than the files that a declaration names; `pdstudy` has the public
names by topic.
"""
