"""Portfolio: what each customer holds and has paid for, folded from the order events into a database of its own.

It owns the RPCs of `stateset.portfolio.v1` and the tables `holdings`, `balances`, `contributions` and `checkpoints`.
"""
