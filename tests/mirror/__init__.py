"""Tests of `pdstudy.mirror`."""
