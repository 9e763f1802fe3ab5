"""Analytics: what happened on each day of business time, folded from the order events into a database of its own.

It owns the RPCs of `stateset.analytics.v1` and the tables `days`, `transitions`, `placings`, `funnels`, `orders` and
`checkpoints`.
"""
