"""Exact solvers, bounds and textbook policies for inventory problems, free of any environment.

Periods are the unit of time, pieces the unit of stock, and every cost is an average per period. A policy
is a small frozen dataclass whose `order(on_hand, pipeline)` works on any number of lanes at once:
`on_hand` is an int64 array (...,), `pipeline` one of (..., L - 1), the oldest order first.
"""
