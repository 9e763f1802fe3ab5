"""Ingest: how fast the Sync Server builds a read model on PostgreSQL out of a topic that is there already."""

import time
from pathlib import Path
from typing import Final

import grpc
from stateset.common.v1 import position_pb2
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from infra.kernel.position import Position
from tests.bench.backlog import EVENTS_PER_ORDER
from tests.bench.effort import Effort
from tests.bench.metrics import await_metric
from tests.bench.parts import kafka, postgres_database
from tests.bench.processes import BenchError, free_address, run_server
from tests.bench.relay import relayed, seconds_max
from tests.bench.report import Reading

_GOAL_EVENTS_PER_S: Final = 20_000
_DIGEST_SECONDS: Final = 60.0


def ingest(folder: Path, effort: Effort) -> dict[str, Reading]:
    """From when the Sync Server serves, with an empty read model, until that is at the topic's end.

    Raises:
        BenchError: There is no Kafka or no PostgreSQL, or the read model does not hold every order.
    """
    events, admin = effort.backlog_events, free_address()
    with (
        postgres_database(folder) as database,
        kafka(folder) as bus,
        relayed(folder, bus, events) as done,
        run_server(
            "sync",
            (
                *("--database", database, "--admin-address", admin),
                *("--order-address", done.order.address, "--bus", "kafka", *bus.options),
            ),
            folder / "sync.log",
        ) as sync,
    ):
        started, cpu, bus_cpu = time.perf_counter(), sync.cpu_seconds(), bus.cpu_seconds()
        ended = await_metric(admin, "stateset_sync_ingested_events_total", events, seconds_max=seconds_max(events))
        reading = Reading(
            value=events / (ended - started),
            unit="events/s",
            goal=_GOAL_EVENTS_PER_S,
            more_is_better=True,
            rests_on={
                "events": events,
                "seconds": round(ended - started, 2),
                "sync_server_cpu_us_per_event": round((sync.cpu_seconds() - cpu) * 1e6 / events, 1),
                "broker_cpu_us_per_event": round((bus.cpu_seconds() - bus_cpu) * 1e6 / events, 1),
            },
        )
        _check_orders(sync.address, done.end, events // EVENTS_PER_ORDER)
    return {"ingest_events_per_s": reading}


def _check_orders(address: str, end: Position, orders: int) -> None:
    """Asks for the digest at the topic's end: it counts what the read model holds."""
    position = position_pb2.Position(log_epoch=end.log_epoch, next_seq=end.next_seq)
    with grpc.insecure_channel(address) as channel:
        stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        request = sync_service_pb2.GetDigestRequest(min_position=position)
        count = stub.GetDigest(request, timeout=_DIGEST_SECONDS).digest.count
    if count != orders:
        raise BenchError(f"the read model holds {count:,} orders, not {orders:,}")
