"""The Order Service: commands on orders, the log of their events, and the streams of that log.

RPCs: `stateset.order.v1.{OrderService, FulfillmentService, ReturnService, LogService}`. Topics:
`stateset.order.v1.events` and `stateset.order.v1.state`. Tables: `orders`, `order_events`, `order_records`,
`order_personal`, `idempotency`, `shard_heads`, `log`, `log_subscriptions`, `log_floors`, `relay_lease`,
`relay_cursors`. Nobody else writes them.
"""
