"""The logit store: `store` opens and extends one, `shard` writes and verifies its files, `codec` and `quantised` are
its two encodings, exact and coded. `inspection` reports on a store; nothing here runs a teacher.
"""
