"""ListOrders: a page of one customer's orders, among few orders and among very many."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import grpc
from stateset.order.v1 import order_service_pb2, order_service_pb2_grpc

from infra.runtime.sql import open_database
from order.main import MIGRATIONS
from tests.bench.effort import Effort
from tests.bench.parts import execute, postgres_database
from tests.bench.processes import BenchError, run_server
from tests.bench.report import Reading
from tests.harness.many_orders import write_orders

_GOAL_MS: Final = 10.0
_GOAL_GROWTH: Final = 1.5
_FEW: Final = 10_000
_ORDERS_PER_CUSTOMER: Final = 100
_PAGE: Final = 50
_PAGES_WARM: Final = 50
_ANSWER_SECONDS: Final = 10.0


def list_orders(folder: Path, effort: Effort) -> dict[str, Reading]:
    """How long a caller waits for the newest 50 orders of a customer, on PostgreSQL, one call after the other.

    The two servers are asked in turn, each time for another customer.

    Raises:
        BenchError: There is no PostgreSQL, a server did not start, or a page does not hold what it should.
    """
    many = effort.listed_orders
    with _served(folder, _FEW) as few_stub, _served(folder, many) as many_stub:
        stubs = {_FEW: few_stub, many: many_stub}
        took: dict[int, list[float]] = {count: [] for count in stubs}
        ends = time.monotonic() + effort.live_seconds
        page = 0
        while time.monotonic() < ends or page < 2 * _PAGES_WARM:
            for count, stub in stubs.items():
                took[count].append(_page_ms(stub, customer=page * 7919 % (count // _ORDERS_PER_CUSTOMER)))
            page += 1
    few_ms, many_ms = (median(each[_PAGES_WARM:]) for each in took.values())
    pages = page - _PAGES_WARM
    return {
        "list_orders_p50_ms": Reading(
            value=many_ms,
            unit="ms",
            goal=_GOAL_MS,
            more_is_better=False,
            rests_on={"orders": many, "pages": pages},
            caveat="" if many >= 1_000_000 else "among fewer than 1,000,000 orders",
        ),
        "list_orders_growth": Reading(
            value=many_ms / few_ms,
            unit="× the time among few",
            goal=_GOAL_GROWTH,
            more_is_better=False,
            rests_on={"few_orders": _FEW, "few_p50_ms": round(few_ms, 2), "orders": many, "pages": pages},
        ),
    }


@contextmanager
def _served(folder: Path, orders: int) -> Iterator[order_service_pb2_grpc.OrderServiceStub]:
    """An Order Service that has so many orders."""
    place = folder / str(orders)
    place.mkdir()
    with postgres_database(place) as url:
        asyncio.run(_fill(url, orders))
        settings = ("--database", url, "--admin-address", "127.0.0.1:0")
        with (
            run_server("order", settings, place / "order.log") as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            yield order_service_pb2_grpc.OrderServiceStub(channel)


async def _fill(url: str, orders: int) -> None:
    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        await write_orders(database, orders, customers=orders // _ORDERS_PER_CUSTOMER)
    # What comes after a bulk load sooner or later; it should not come while pages are timed.
    for statement in ("VACUUM ANALYZE", "CHECKPOINT"):
        await execute(url, statement)


def _page_ms(stub: order_service_pb2_grpc.OrderServiceStub, customer: int) -> float:
    request = order_service_pb2.ListOrdersRequest(filter=f'customer_id = "customer-{customer}"', page_size=_PAGE)
    started = time.perf_counter()
    page = stub.ListOrders(request, timeout=_ANSWER_SECONDS, wait_for_ready=True)
    took = time.perf_counter() - started
    if len(page.orders) != _PAGE or not page.next_page_token:
        raise BenchError(f"a page of customer {customer} has {len(page.orders)} orders, not {_PAGE} and more to come")
    return took * 1000
