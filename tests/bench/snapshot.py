"""A snapshot of a large read model on PostgreSQL, to one subscriber that decodes every order."""

import asyncio
import time
from pathlib import Path
from typing import Final

import grpc
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from infra.kernel.position import Position
from infra.runtime.sql import open_database
from order.adapters.wire_order import order_to_wire
from sync.adapters.sql_read_model import SqlReadModel
from sync.domain.log import OrderRow
from tests.bench.effort import Effort
from tests.bench.events import LOG_EPOCH, SHARDS
from tests.bench.parts import execute, postgres_database
from tests.bench.processes import BenchError, Server, run_server
from tests.bench.report import Reading
from tests.harness.orders import carry_out, place

_GOAL_ORDERS_PER_S: Final = 50_000
_FRAME_ORDERS: Final = 2_000
_SNAPSHOT_SECONDS: Final = 300.0
_ID: Final = "0199b1c0-0000-7000-9000-{:012x}"
_WRITTEN_AT_ONCE: Final = 10_000


def snapshot(folder: Path, effort: Effort) -> dict[str, Reading]:
    """From the Open until SnapshotEnd.

    Raises:
        BenchError: There is no PostgreSQL, the server did not start, or an order is missing.
    """
    orders = effort.listed_orders
    with postgres_database(folder) as database:
        asyncio.run(_fill(database, orders))
        with run_server("tests.bench.snapshot_server", ("--database", database), folder / "sync.log") as server:
            resident = _resident_mib(server)
            cpu, started = server.cpu_seconds(), time.perf_counter()
            received, size = _read(server.address)
            seconds = time.perf_counter() - started
            rests_on = {
                "orders": orders,
                "bytes_per_order": round(size / max(1, received)),
                "server_cpu_us_per_order": round((server.cpu_seconds() - cpu) * 1e6 / orders, 1),
                "server_grew_by_mib": round(_resident_mib(server) - resident, 1),
            }
    if received != orders:
        raise BenchError(f"the snapshot has {received:,} orders, not {orders:,}")
    return {
        "snapshot_orders_per_s": Reading(
            value=orders / seconds,
            unit="orders/s",
            goal=_GOAL_ORDERS_PER_S,
            more_is_better=True,
            rests_on=rests_on,
        )
    }


async def _fill(url: str, orders: int) -> None:
    marker = _ID.format(0)
    body = order_to_wire(carry_out(place(1, 2, 3, order_id=marker))).SerializeToString()
    async with open_database(url, service="sync", migrations=Path("sync/migrations")) as database:
        read_model = SqlReadModel(database)
        position = Position.earliest(LOG_EPOCH, SHARDS)
        await read_model.begin(position)
        for first in range(0, orders, _WRITTEN_AT_ONCE):
            numbers = range(first, min(first + _WRITTEN_AT_ONCE, orders))
            await read_model.apply([_row(_ID.format(number), body, marker) for number in numbers], position)
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
        await execute(url, statement)


def _row(order_id: str, body: bytes, marker: str) -> OrderRow:
    return OrderRow(
        order_id=order_id,
        customer_id="customer-1",
        store_id="store-1",
        currency_code="USD",
        state="PENDING",
        version=1,
        body=body.replace(marker.encode(), order_id.encode()),
    )


def _read(address: str) -> tuple[int, int]:
    """How many orders came, each behind the one before it, and in how many bytes."""
    received, size, last = 0, 0, ""
    start = stream_pb2.Start(snapshot=stream_pb2.SnapshotStart())
    request = sync_service_pb2.StreamEventsRequest(open=stream_pb2.Open(start=start, batch_events_max=_FRAME_ORDERS))
    with grpc.insecure_channel(address) as channel:
        stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        for message in stub.StreamEvents(request, timeout=_SNAPSHOT_SECONDS, wait_for_ready=True):
            if message.frame.HasField("snapshot_end"):
                break
            for order in message.frame.snapshot_orders.orders:
                if order.order_id <= last:
                    raise BenchError(f"order {order.order_id} came behind {last}")
                last = order.order_id
            received += len(message.frame.snapshot_orders.orders)
            size += message.ByteSize()
    return received, size


def _resident_mib(server: Server) -> float:
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError("the server does not say how much memory it has")
