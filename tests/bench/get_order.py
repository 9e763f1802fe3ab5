"""GetOrder: the Order Service on PostgreSQL, its whole chain around each call, against a constant reply."""

import asyncio
from itertools import cycle
from pathlib import Path
from typing import Final

import grpc
from stateset.order.v1 import order_service_pb2, order_service_pb2_grpc

from infra.runtime.sql import open_database
from order.main import MIGRATIONS
from tests.bench.effort import Effort
from tests.bench.grpc_call import NUMBER, CallTemplate
from tests.bench.parts import postgres_database
from tests.bench.processes import run_server
from tests.bench.report import Comparison
from tests.bench.unary import ANSWER_SECONDS, DEADLINE_SECONDS, against_constant
from tests.harness.many_orders import ID_PREFIX, write_orders

_METHOD: Final = "/stateset.order.v1.OrderService/GetOrder"
_ORDERS: Final = 10_000  # read in turn, so that no two calls that wait together ask for the same one


def get_order(folder: Path, effort: Effort) -> dict[str, Comparison]:
    """CPU of the Order Service per order that is read; PostgreSQL's own is not counted.

    Raises:
        BenchError: There is no PostgreSQL, a server did not start, or a call was not answered with OK.
    """
    with postgres_database(folder) as database:
        asyncio.run(_fill(database))
        settings = ("--database", database, "--admin-address", "127.0.0.1:0")
        with run_server("order", settings, folder / "order.log") as ours:
            compared = against_constant(_template, ours, _reply(ours.address), folder, effort)
    return {"get_order_cpu_ratio": compared}


async def _fill(url: str) -> None:
    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        await write_orders(database, _ORDERS, customers=100)


def _template(address: str) -> CallTemplate:
    message = order_service_pb2.GetOrderRequest(order_id=ID_PREFIX + NUMBER).SerializeToString()
    numbers = cycle(range(_ORDERS))
    return CallTemplate(address, _METHOD, message, deadline_seconds=DEADLINE_SECONDS, numbers=numbers)


def _reply(address: str) -> bytes:
    with grpc.insecure_channel(address) as channel:
        stub = order_service_pb2_grpc.OrderServiceStub(channel)
        request = order_service_pb2.GetOrderRequest(order_id=f"{ID_PREFIX}{0:012x}")
        return stub.GetOrder(request, timeout=ANSWER_SECONDS, wait_for_ready=True).SerializeToString()
