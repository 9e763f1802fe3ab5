"""Orders and commands, with everything that a test does not care about filled in."""

from collections.abc import Sequence
from itertools import count
from typing import Any

from stateset.common.v1 import money_pb2
from stateset.order.v1 import order_service_pb2

from order.application.ports import Submission
from order.domain.commands import Command, LineQuantity, NewLine, PlaceOrder
from order.domain.order import Order
from tests.harness.order_story import Story

DOLLAR = 1_000_000_000
_numbers = count(1)


def place(*quantities: int, order_id: str = "o-1", price_nanos: int = DOLLAR, **terms: Any) -> PlaceOrder:  # noqa: ANN401 - terms of any type
    """A command for an order with one line per quantity: line ids "1", "2", …, and other terms if any are given."""
    lines = tuple(
        NewLine(line_id=str(number), product_id=f"p-{number}", quantity=quantity, price_nanos=price_nanos)
        for number, quantity in enumerate(quantities, 1)
    )
    given: dict[str, Any] = {"expected_total": None, **terms}
    return PlaceOrder(order_id=order_id, customer_id="c-1", store_id="s-1", currency_code="USD", lines=lines, **given)


def units(*quantities: int) -> tuple[LineQuantity, ...]:
    """Quantities by line number; lines of 0 are left out."""
    return tuple(
        LineQuantity(line_id=str(n), quantity=quantity) for n, quantity in enumerate(quantities, 1) if quantity
    )


def carry_out(*commands: Command) -> Order:
    """The order after the commands, of which the first places it."""
    return Story().carry_out(*commands)


def submission(command: Command, *, request_id: str = "", **fields: object) -> Submission:
    """The command as it would come in, with a request id of its own unless one is given."""
    return Submission(
        method=type(command).__name__,
        command=command,
        principal="local",
        request_id=request_id or f"request-{next(_numbers)}",
        content=order_service_pb2.PlaceOrderRequest(reason=repr(command)).SerializeToString(),
        deadline=float("inf"),
        **fields,  # type: ignore[arg-type]
    )


def place_request(*quantities: int, order_id: str = "", request_id: str = "") -> order_service_pb2.PlaceOrderRequest:
    """A valid request with one dollar a unit."""
    return order_service_pb2.PlaceOrderRequest(
        request_id=request_id or f"request-{next(_numbers)}",
        order_id=order_id,
        customer_id="c-1",
        currency_code="USD",
        lines=new_lines(quantities or (3,)),
    )


def new_lines(quantities: Sequence[int]) -> list[order_service_pb2.NewOrderLine]:
    """One line per quantity, line ids "1", "2", …"""
    return [
        order_service_pb2.NewOrderLine(
            line_id=str(number),
            product_id=f"p-{number}",
            quantity=quantity,
            unit_price=money_pb2.Price(currency_code="USD", nanos=DOLLAR),
        )
        for number, quantity in enumerate(quantities, 1)
    ]
