"""How much work a run of the benches is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """More of anything takes longer and varies less.

    Attributes:
        rounds: How often each of two servers that are compared is measured…
        seconds: … and how long, each time.
        backlog_events: What the log holds before something has to catch up with it.
        live_seconds: How long a latency is watched…
        live_events_per_s: … and at which rate.
        listed_orders: What the order database holds while pages of it are listed, and a read model while it is sent.
        loaded_orders: How many orders are placed by streams of many.
        idle_subscribers: How many streams do nothing.
        neighbours: How many streams are live beside one that stalls, with it.
    """

    rounds: int = 8
    seconds: float = 2.0
    backlog_events: int = 200_000
    live_seconds: float = 10.0
    live_events_per_s: int = 1_000
    listed_orders: int = 1_000_000
    loaded_orders: int = 100_000
    idle_subscribers: int = 10_000
    neighbours: int = 1_000
