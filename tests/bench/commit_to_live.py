"""From an event's record time, inside its transaction, until a live subscriber in another process has it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.ages import Audience, audience, percentile_ms
from tests.bench.effort import Effort
from tests.bench.grpc_call import NUMBER, CallTemplate
from tests.bench.metrics import mean_seconds, read_metrics
from tests.bench.paced_load import PacedLoad
from tests.bench.parts import Bus, kafka
from tests.bench.place_order import METHOD, new_order
from tests.bench.processes import BenchError, Server, free_address, machine_cpu_seconds, run_server
from tests.bench.report import Reading
from tests.bench.unary import DEADLINE_SECONDS

SUBSCRIBERS: Final = 100
FILTERS: Final = 10  # so the Sync Server cuts and encodes everything ten times
_PROCESSES: Final = 2
_WARM_UP_SECONDS: Final = 2.0
_STALL_SECONDS: Final = 20.0  # with nothing answered or nothing delivered, there is nothing more to come
_POLL_SECONDS: Final = 0.1
_COMMIT: Final = "stateset_order_commit_seconds"
_HELD: Final = 0.98  # of the rate that is asked for: below it, the figures are those of another load
# An event's way: from its record time until each of these, as the servers themselves measure it. On Kafka it does not
# wait for the commit there.
_HOPS: Final = {
    "out_of_order_service": "stateset_order_stream_hop_seconds",
    "committed_on_kafka": "stateset_order_relay_hop_seconds",
    "in_sync_server": "stateset_sync_arrived_seconds",
    "in_ring": "stateset_sync_hop_seconds",
}


def direct(folder: Path, effort: Effort) -> dict[str, Reading]:
    """With the Order Service's own stream between the two servers, each on SQLite; and with bare servers instead.

    What the bare ones take is gRPC's and the machine's: they place nothing, prove nothing and keep nothing.

    Raises:
        BenchError: A call failed, or a subscriber was not sent every event.
    """
    with _bare_servers(folder) as servers:
        bare = _watched(servers, folder, effort)
    with _our_servers(folder, None) as servers:
        seen = _watched(servers, folder, effort)
    return {
        "commit_to_live_bare_p50_ms": bare.reading(50, None),
        "commit_to_live_bare_p99_ms": bare.reading(99, None),
        "commit_to_live_p50_ms": seen.reading(50, 10),
        "commit_to_live_p99_ms": seen.reading(99, 50),
    }


def by_kafka(folder: Path, effort: Effort) -> dict[str, Reading]:
    """With the relay and Kafka between them.

    Raises:
        BenchError: As above, or there is no Kafka.
    """
    with kafka(folder) as bus, _our_servers(folder, bus) as servers:
        seen = _watched(servers, folder, effort)
    return {"commit_to_live_kafka_p50_ms": seen.reading(50, 20), "commit_to_live_kafka_p99_ms": seen.reading(99, None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    """What stands between the load and the subscribers.

    Attributes:
        orders: Takes the commands.
        syncing: Streams their events.
        bus: Between the two, if there is one.
        admins: Where the two tell their metrics, if they do.
    """

    orders: Server
    syncing: Server
    bus: Bus | None = None
    admins: tuple[str, ...] = ()


@contextmanager
def _bare_servers(folder: Path) -> Iterator[_Servers]:
    module = "tests.bench.reference_live"
    with (
        run_server(module, (), folder / "first.log") as orders,
        run_server(module, ("--upstream", orders.address), folder / "second.log") as syncing,
    ):
        yield _Servers(orders=orders, syncing=syncing)


@contextmanager
def _our_servers(folder: Path, bus: Bus | None) -> Iterator[_Servers]:
    admins = free_address(), free_address()
    order_options = bus.options if bus else ()
    sync_options = ("--bus", "kafka", *bus.options) if bus else ()
    with ExitStack() as stack:

        def run(module: str, admin: str, *options: str) -> Server:
            own = ("--database", f"sqlite:///{folder / module}.db", "--admin-address", admin)
            return stack.enter_context(run_server(module, (*own, *options), folder / f"{module}.log"))

        orders = run("order", admins[0], *order_options)
        syncing = run("sync", admins[1], "--order-address", orders.address, *sync_options)
        yield _Servers(orders=orders, syncing=syncing, bus=bus, admins=admins)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What all subscribers have seen.

    Attributes:
        ages: Of all deliveries, how many by age.
        events_per_s: How many orders were placed…
        wanted_per_s: … and how many were to be.
        rests_on: What else is to be known about them.
    """

    ages: Mapping[int, int]
    events_per_s: float
    wanted_per_s: int
    rests_on: Mapping[str, object]

    def reading(self, percent: int, goal_ms: float | None) -> Reading:
        """One percentile."""
        held = self.events_per_s >= _HELD * self.wanted_per_s
        return Reading(
            value=percentile_ms(self.ages, percent),
            unit="ms",
            goal=goal_ms,
            more_is_better=False,
            rests_on=self.rests_on,
            caveat="" if held else f"at {self.events_per_s:.0f} events/s, as the Order Service took no more",
        )


def _watched(servers: _Servers, folder: Path, effort: Effort) -> _Seen:
    """Places orders at the rate, and watches them arrive."""
    rate, events = effort.live_events_per_s, round(effort.live_seconds * effort.live_events_per_s)
    orders, syncing, bus = servers.orders, servers.syncing, servers.bus
    template = CallTemplate(
        orders.address, METHOD, new_order(NUMBER).SerializeToString(), deadline_seconds=DEADLINE_SECONDS
    )
    with (
        audience(syncing.address, folder, processes=_PROCESSES, subscribers=SUBSCRIBERS, filters=FILTERS) as listeners,
        PacedLoad(template, orders.address, per_second=rate) as load,
    ):
        _place(load, listeners, round(_WARM_UP_SECONDS * rate))
        busy = {
            "order_service": orders.cpu_seconds,
            "sync_server": syncing.cpu_seconds,
            "all_subscribers": listeners.cpu_seconds,
            "load": time.process_time,
            **({"broker": bus.cpu_seconds} if bus else {}),
            "whole_machine": machine_cpu_seconds,
        }
        before, cpu = _metrics(servers.admins), [cpu_seconds() for cpu_seconds in busy.values()]
        ages, seconds = _place(load, listeners, events)
        gains = [now() - then for now, then in zip(busy.values(), cpu, strict=True)]
        after = _metrics(servers.admins)
    rests_on = {
        "events": events,
        "subscribers": SUBSCRIBERS,
        "filters": FILTERS,
        "greatest_ms": round(percentile_ms(ages, 100), 1),
        **(_hops_ms(before, after) if servers.admins else {}),
        **{f"{who}_cpu_share": round(gain / seconds, 2) for who, gain in zip(busy, gains, strict=True)},
    }
    return _Seen(ages=ages, events_per_s=events / seconds, wanted_per_s=rate, rests_on=rests_on)


def _hops_ms(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The time of the commit itself, and the mean age of what reached each hop of the bus in use."""
    found = {"commit": mean_seconds(before, after, _COMMIT)}
    found |= {f"age_{hop}": mean_seconds(before, after, name) for hop, name in _HOPS.items()}
    return {f"{name}_ms": round(1e3 * seconds, 1) for name, seconds in found.items() if seconds}


def _place(load: PacedLoad, listeners: Audience, orders: int) -> tuple[Mapping[int, int], float]:
    """Places so many orders; the ages of what was delivered, and how long it took until all were answered."""
    due = SUBSCRIBERS * orders
    took = load.run(orders, stall_seconds=_STALL_SECONDS)
    ages, moved = listeners.take(), time.perf_counter()
    while ages.total() < due and time.perf_counter() < moved + _STALL_SECONDS:
        time.sleep(_POLL_SECONDS)
        if news := listeners.take():
            ages, moved = ages + news, time.perf_counter()
    if ages.total() != due:
        raise BenchError(f"{ages.total():,} events were delivered, not {due:,}")
    return ages, took


def _metrics(addresses: tuple[str, ...]) -> Mapping[str, float]:
    return {name: value for address in addresses for name, value in read_metrics(address).items()}
