"""Risk: what each customer's orders may come to, folded from the order events into a database of its own.

It owns the RPCs of `stateset.risk.v1` and the tables `exposures`, `orders` and `checkpoints`.
"""
