"""Teacher inference: `load` checks and loads a teacher, `statistics` turns logits into what is kept of them, `capture`
writes that to a store and `live` makes it inside a training step. Nothing here trains.
"""
