"""PlaceOrder: the Order Service on a database, fsync on, its whole chain around each call, against a constant reply."""

from pathlib import Path
from typing import Final

import grpc
from stateset.common.v1 import money_pb2
from stateset.order.v1 import order_service_pb2, order_service_pb2_grpc

from tests.bench.effort import Effort
from tests.bench.grpc_call import NUMBER, CallTemplate
from tests.bench.parts import postgres_database
from tests.bench.processes import run_server
from tests.bench.report import Comparison
from tests.bench.unary import ANSWER_SECONDS, DEADLINE_SECONDS, against_constant

LINES: Final = 3
METHOD: Final = "/stateset.order.v1.OrderService/PlaceOrder"


def place_order_sqlite(folder: Path, effort: Effort) -> dict[str, Comparison]:
    """CPU of the Order Service per placed order, on SQLite.

    Args:
        folder: Empty; for the database and the servers' output. The disk that it is on is part of what is measured.
        effort: How often, and how long.

    Raises:
        BenchError: A server did not start, or a call was not answered with OK.
    """
    return {"place_order_cpu_ratio_sqlite": _compared(f"sqlite:///{folder / 'order.db'}", folder, effort)}


def place_order_postgres(folder: Path, effort: Effort) -> dict[str, Comparison]:
    """The same on PostgreSQL, whose own CPU is not counted.

    Raises:
        BenchError: As above, or there is no PostgreSQL.
    """
    with postgres_database(folder) as database:
        return {"place_order_cpu_ratio_postgres": _compared(database, folder, effort)}


def _compared(database: str, folder: Path, effort: Effort) -> Comparison:
    settings = ("--database", database, "--admin-address", "127.0.0.1:0")
    with run_server("order", settings, folder / "order.log") as ours:
        return against_constant(_template, ours, _first_reply(ours.address), folder, effort)


def _template(address: str) -> CallTemplate:
    message = new_order(NUMBER).SerializeToString()
    return CallTemplate(address, METHOD, message, deadline_seconds=DEADLINE_SECONDS)


def new_order(name: str) -> order_service_pb2.PlaceOrderRequest:
    """An order of three lines, under ids that end in `name`."""
    price = money_pb2.Price(currency_code="USD", nanos=1_990_000_000)
    return order_service_pb2.PlaceOrderRequest(
        request_id=f"0199b1c0-0000-7000-8000-{name}",
        order_id=f"0199b1c0-0000-7000-9000-{name}",
        customer_id="household-2375",
        store_id="store-412",
        currency_code="USD",
        lines=[
            order_service_pb2.NewOrderLine(
                line_id=str(line), product_id=f"product-{826_000 + line}", quantity=line, unit_price=price
            )
            for line in range(1, LINES + 1)
        ],
    )


def _first_reply(address: str) -> bytes:
    """Ours to one order: the reference answers with the same, and so with the same size."""
    with grpc.insecure_channel(address) as channel:
        stub = order_service_pb2_grpc.OrderServiceStub(channel)
        request = new_order("first-order!")
        return stub.PlaceOrder(request, timeout=ANSWER_SECONDS, wait_for_ready=True).SerializeToString()
