"""`stateset place`, `get` and `list`: one call each, through the SDK."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation

from google.protobuf.json_format import MessageToJson
from stateset.common.v1.money_pb2 import Money, Price
from stateset.order.v1.order_pb2 import Order, OrderState
from stateset.order.v1.order_service_pb2 import GetOrderRequest, ListOrdersRequest, NewOrderLine, PlaceOrderRequest
from stateset_client import OrderClient, StateSetError

from consumers.cli.console import complain, say
from consumers.cli.refusals import told
from infra.kernel.money import NANOS, minor_digits
from infra.runtime.lifespan import EXIT_UNUSABLE


def place(options: Namespace) -> int:
    """Places an order; returns the exit code."""
    try:
        lines = [new_line(str(number), text, options.currency) for number, text in enumerate(options.lines, start=1)]
    except ValueError as error:
        complain(f"stateset place: {error}")
        return EXIT_UNUSABLE
    request = PlaceOrderRequest(
        request_id=options.request_id,
        order_id=options.order_id,
        customer_id=options.customer,
        currency_code=options.currency,
        lines=lines,
    )

    async def call(client: OrderClient) -> None:
        say(summary((await client.place_order(request)).order))

    return _with_client(options.address, call)


def get(options: Namespace) -> int:
    """Prints an order; returns the exit code."""

    async def call(client: OrderClient) -> None:
        reply = await client.get_order(GetOrderRequest(order_id=options.order_id))
        say(MessageToJson(reply.order))

    return _with_client(options.address, call)


def list_(options: Namespace) -> int:
    """Prints a line for each order; returns the exit code."""

    async def call(client: OrderClient) -> None:
        request = ListOrdersRequest(filter=options.filter, page_size=options.limit)
        left = options.limit
        async for order in client.list_all_orders(request):
            say(summary(order))
            left -= 1
            if not left:
                return

    return _with_client(options.address, call)


def new_line(line_id: str, text: str, currency_code: str) -> NewOrderLine:
    """The line that PRODUCT:QUANTITY:PRICE means; the product's id may itself hold colons.

    Raises:
        ValueError: It is not of that form.
    """
    try:
        product_id, quantity, price = text.rsplit(":", 2)
        if "_" in quantity + price:  # Python's numbers may have some
            raise InvalidOperation
        nanos = Decimal(price) * NANOS
        if nanos != int(nanos):
            raise InvalidOperation
        unit_price = Price(currency_code=currency_code, nanos=int(nanos))
        return NewOrderLine(line_id=line_id, product_id=product_id, quantity=int(quantity), unit_price=unit_price)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"--line {text!r} is not PRODUCT:QUANTITY:PRICE, such as tea:2:1.99") from error


def summary(order: Order) -> str:
    """The order in one line."""
    state = OrderState.Name(order.state).removeprefix("ORDER_STATE_")
    return f"{order.order_id}  {state}  v{order.version}  {order.customer_id}  {money(order.total)}"


def money(amount: Money) -> str:
    """The amount for people, such as "USD 12.34"."""
    digits = minor_digits(amount.currency_code)
    return f"{amount.currency_code} {Decimal(amount.minor_units).scaleb(-digits):.{digits}f}"


def _with_client(address: str, call: Callable[[OrderClient], Awaitable[None]]) -> int:
    async def connected() -> None:
        async with OrderClient.connect(address) as client:
            await call(client)

    try:
        asyncio.run(connected())
    except StateSetError as error:
        complain(told(error, service="Order Service", address=address))
        return 1
    return 0
