"""Floor 4: how fast this package is, beside its rivals, in one process and in alternating rounds.

A benchmark is a function of a `Setting` that gives a document: a dictionary that is printed (`grids`), written as JSON
and turned into docs/performance.md (`report`).
"""
