"""The trainer, `pdstudy.train.loop.train`, and its parts."""
