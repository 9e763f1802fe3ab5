"""`make bench`: runs the named benches, or all; prints tables and writes bench.json. Exit code 1 if one could not."""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from rich.console import Console

from tests.bench.client_events import client_events
from tests.bench.commit_to_live import by_kafka, direct
from tests.bench.effort import Effort
from tests.bench.fanout import fanout
from tests.bench.get_order import get_order
from tests.bench.http_get_order import http_get_order
from tests.bench.http_streams import http_streams
from tests.bench.idle import idle
from tests.bench.ingest import ingest
from tests.bench.ingest_orders import ingest_orders
from tests.bench.list_orders import list_orders
from tests.bench.order_parts import order_parts
from tests.bench.overload import overload
from tests.bench.place_order import place_order_postgres, place_order_sqlite
from tests.bench.processes import BenchError
from tests.bench.relay import relay
from tests.bench.report import Outcome, show, write_json
from tests.bench.snapshot import snapshot
from tests.bench.stalled_neighbour import stalled_neighbour
from tests.bench.stalled_reader import stalled_reader


class Bench(Protocol):
    """Something to measure."""

    def __call__(self, folder: Path, effort: Effort) -> Mapping[str, Outcome]:
        """Measures it, with an empty folder for whatever it needs; the outcomes by the names that they are known by.

        Raises:
            BenchError: It cannot.
        """


BENCHES: Final[Mapping[str, Bench]] = {
    "place_order_sqlite": place_order_sqlite,
    "place_order_postgres": place_order_postgres,
    "order_parts": order_parts,
    "get_order": get_order,
    "list_orders": list_orders,
    "http_get_order": http_get_order,
    "http_streams": http_streams,
    "place_order_overload": overload,
    "fanout": fanout,
    "client_events": client_events,
    "stalled_reader": stalled_reader,
    "stalled_neighbour": stalled_neighbour,
    "idle": idle,
    "snapshot": snapshot,
    "relay": relay,
    "ingest": ingest,
    "ingest_orders": ingest_orders,
    "commit_to_live": direct,
    "commit_to_live_kafka": by_kafka,
}


def main() -> int:
    """Runs what the command line says; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    effort = Effort(
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        backlog_events=arguments.backlog_events,
        live_seconds=arguments.live_seconds,
        live_events_per_s=arguments.live_events_per_s,
        listed_orders=arguments.listed_orders,
        loaded_orders=arguments.loaded_orders,
        idle_subscribers=arguments.idle_subscribers,
        neighbours=arguments.neighbours,
    )
    console = Console(width=120)
    outcomes: dict[str, Outcome] = {}
    failed: list[str] = []
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or BENCHES:
        console.print(f"{name} …")
        # Beside the real databases, because a temporary folder may lie in memory, where a sync costs nothing.
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.data_dir) as folder:
            try:
                outcomes |= BENCHES[name](Path(folder), effort)
            except BenchError as error:
                failed.append(f"{name}: {error}")
    show(outcomes, console)
    path = arguments.data_dir / "bench.json"
    write_json(outcomes, path)
    console.print(f"written to {path}")
    for line in failed:
        console.print(line, soft_wrap=True)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    default = Effort()
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to run, of {', '.join(BENCHES)}; all if none")
    parser.add_argument("--data-dir", type=Path, default=Path(".stateset"), help="where bench.json is written")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="how often compared servers are measured")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="how long, each time")
    parser.add_argument(
        "--backlog-events", type=int, default=default.backlog_events, help="how many events are relayed and ingested"
    )
    parser.add_argument(
        "--live-seconds", type=float, default=default.live_seconds, help="how long subscribers are watched"
    )
    parser.add_argument(
        "--live-events-per-s", type=int, default=default.live_events_per_s, help="how fast they are sent events"
    )
    parser.add_argument(
        "--listed-orders",
        type=int,
        default=default.listed_orders,
        help="how many orders there are to be listed or sent",
    )
    parser.add_argument(
        "--loaded-orders", type=int, default=default.loaded_orders, help="how many orders are placed by streams of many"
    )
    parser.add_argument(
        "--idle-subscribers", type=int, default=default.idle_subscribers, help="how many streams do nothing"
    )
    parser.add_argument(
        "--neighbours", type=int, default=default.neighbours, help="how many streams are live while one of them stalls"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
