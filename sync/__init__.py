"""The Sync Server: order events for many subscribers, and a read model that says how old it is.

RPCs: `stateset.sync.v1.SyncService`. Tables: `orders`, `read_model`, `subscriptions`, `subscription_floors`,
`parked_events`, `retired_epoch`. Everything in them can be rebuilt from the log, but what belongs to subscriptions.
"""
