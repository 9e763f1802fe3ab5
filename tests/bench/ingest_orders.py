"""IngestOrders: how many three-line orders a second one Order Service makes durable on PostgreSQL, fsync on."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import grpc.aio
from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.channel import open_channel
from tests.bench.effort import Effort
from tests.bench.parts import postgres_database
from tests.bench.place_order import new_order
from tests.bench.processes import BenchError, machine_cpu_seconds, run_server
from tests.bench.report import Reading

_GOAL_ORDERS_PER_S: Final = 20_000
_METHOD: Final = "/stateset.order.v1.OrderService/IngestOrders"
_STREAM_ORDERS: Final = 1_000
_MESSAGE_ORDERS: Final = 100
_STREAMS: Final = 4  # as many as our client has under way
_WARM_UP_ORDERS: Final = 5_000
_STREAM_SECONDS: Final = 60.0

Stream = Sequence[bytes]
"""Its messages."""


def ingest_orders(folder: Path, effort: Effort) -> dict[str, Reading]:
    """From the first message to the last answer, four streams at a time; the messages are encoded before.

    Raises:
        BenchError: There is no PostgreSQL, the server did not start, or an order was not placed.
    """
    count = effort.loaded_orders
    streams = list(_streams(_WARM_UP_ORDERS + count))
    warm_up = _WARM_UP_ORDERS // _STREAM_ORDERS
    with postgres_database(folder) as database:
        settings = ("--database", database, "--admin-address", "127.0.0.1:0")
        with run_server("order", settings, folder / "order.log") as server:
            asyncio.run(_load(server.address, streams[:warm_up]))
            started, cpu, load_cpu, all_cpu = _now(server.cpu_seconds())
            asyncio.run(_load(server.address, streams[warm_up:]))
            ended, cpu_then, load_cpu_then, all_cpu_then = _now(server.cpu_seconds())
    own_us, load_us, all_us = (
        round((then - before) * 1e6 / count, 1)
        for before, then in ((cpu, cpu_then), (load_cpu, load_cpu_then), (all_cpu, all_cpu_then))
    )
    return {
        "ingest_orders_per_s": Reading(
            value=count / (ended - started),
            unit="orders/s",
            goal=_GOAL_ORDERS_PER_S,
            more_is_better=True,
            rests_on={
                "orders": count,
                "order_service_cpu_us_per_order": own_us,
                "load_cpu_us_per_order": load_us,
                "machine_cpu_us_per_order": all_us,
            },
        )
    }


def _now(server_cpu: float) -> tuple[float, float, float, float]:
    return time.perf_counter(), server_cpu, time.process_time(), machine_cpu_seconds()


def _streams(orders: int) -> Iterator[Stream]:
    for first in range(0, orders, _STREAM_ORDERS):
        end = min(first + _STREAM_ORDERS, orders)
        yield [_message(range(each, min(each + _MESSAGE_ORDERS, end))) for each in range(first, end, _MESSAGE_ORDERS)]


def _message(numbers: range) -> bytes:
    orders = [new_order(f"{number:012}") for number in numbers]
    return order_service_pb2.IngestOrdersRequest(orders=orders).SerializeToString()


async def _load(address: str, streams: Sequence[Stream]) -> None:
    waiting = iter(streams)
    async with open_channel(address) as channel, asyncio.TaskGroup() as tasks:
        for _ in range(_STREAMS):
            tasks.create_task(_send(channel, waiting))


async def _send(channel: grpc.aio.Channel, streams: Iterable[Stream]) -> None:
    call: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(_METHOD)
    for stream in streams:
        _check(await call(iter(stream), timeout=_STREAM_SECONDS), stream)


def _check(reply: bytes, stream: Stream) -> None:
    """Every order of the stream is placed, and was not there before."""
    results = order_service_pb2.IngestOrdersResponse.FromString(reply).results
    placed = sum(each.HasField("placed") and not each.placed.replayed for each in results)
    if placed != len(results) or len(results) < len(stream):
        raise BenchError(f"{placed} of {len(results)} orders of a stream of {len(stream)} messages were placed anew")
