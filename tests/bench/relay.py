"""The relay: how fast a backlog gets from the log onto Kafka, until readers of committed records have all of it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.kernel.position import Position
from infra.runtime.kafka.headers import place_of
from infra.runtime.kafka.lookup import Lookup
from infra.runtime.topics import EVENTS
from tests.bench.backlog import fill
from tests.bench.effort import Effort
from tests.bench.metrics import await_metric
from tests.bench.parts import Bus, kafka
from tests.bench.processes import BenchError, Server, free_address, run_server
from tests.bench.report import Reading

_GOAL_EVENTS_PER_S: Final = 30_000
_TAKE_OVER_SECONDS: Final = 30.0
_VISIBLE_SECONDS: Final = 10.0  # a few dozen milliseconds as a rule
_EVENTS_PER_S_MIN: Final = 500  # slower than this, nobody waits for the result


@dataclass(frozen=True, slots=True, kw_only=True)
class Relayed:
    """A log that is on the bus, and how it got there.

    Attributes:
        order: The Order Service; its relay has nothing left to do.
        end: Where the log, and so the topic, ends.
        reading: The relay's speed.
    """

    order: Server
    end: Position
    reading: Reading


def relay(folder: Path, effort: Effort) -> dict[str, Reading]:
    """From the relay's takeover until its last commit, the Order Service on SQLite.

    Raises:
        BenchError: There is no Kafka, or what is on the topic is not the log.
    """
    with kafka(folder) as bus, relayed(folder, bus, effort.backlog_events) as done:
        return {"relay_events_per_s": done.reading}


def seconds_max(events: int) -> float:
    """How long to wait for so many events."""
    return 30.0 + events / _EVENTS_PER_S_MIN


@contextmanager
def relayed(folder: Path, bus: Bus, events: int) -> Iterator[Relayed]:
    """Makes a log of so many events, has an Order Service publish it, and keeps that running."""
    database = f"sqlite:///{folder / 'order.db'}"
    end = asyncio.run(fill(database, events))
    admin = free_address()
    options = ("--database", database, "--admin-address", admin, *bus.options)
    with (
        run_server("order", options, folder / "order.log") as order,
        closing(Lookup(bus.cluster, committed=True)) as lookup,
    ):
        started = await_metric(admin, "stateset_order_relay_takeovers_total", 1, seconds_max=_TAKE_OVER_SECONDS)
        cpu, bus_cpu = order.cpu_seconds(), bus.cpu_seconds()
        await_metric(admin, "stateset_order_relay_published_events_total", events, seconds_max=seconds_max(events))
        ended = _await_committed(lookup, EVENTS.name(bus.prefix), end)
        reading = Reading(
            value=events / (ended - started),
            unit="events/s",
            goal=_GOAL_EVENTS_PER_S,
            more_is_better=True,
            rests_on={
                "events": events,
                "seconds": round(ended - started, 2),
                "order_service_cpu_us_per_event": round((order.cpu_seconds() - cpu) * 1e6 / events, 1),
                "broker_cpu_us_per_event": round((bus.cpu_seconds() - bus_cpu) * 1e6 / events, 1),
            },
        )
        yield Relayed(order=order, end=end, reading=reading)


def _await_committed(lookup: Lookup, name: str, end: Position) -> float:
    """The moment at which the broker shows readers of committed records the last event of every shard.

    A commit is acknowledged before that: what is committed becomes visible partition by partition.

    Raises:
        BenchError: It does not in time.
    """
    topic, expected = lookup.topic(name), dict(enumerate(end.next_seq))
    deadline = time.perf_counter() + _VISIBLE_SECONDS
    while time.perf_counter() < deadline:
        found = {shard: place_of(message).seq + 1 for shard, message in lookup.last(topic).items()}
        if dict.fromkeys(expected, 1) | found == expected:
            return time.perf_counter()
    raise BenchError(f"{name} ends at {found} after {_VISIBLE_SECONDS:.0f} s, the log at {expected}")
