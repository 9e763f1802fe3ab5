"""Events for a FakeSync, and a bounded wait."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order, OrderLine
from stateset_client.testing import FakeSync

_POLL_SECONDS: Final = 0.01


async def eventually(check: Callable[[], object], *, within_seconds: float = 20.0) -> None:
    """Waits until `check` is true; the test fails when it never is."""
    async with asyncio.timeout(within_seconds):
        while not check():  # noqa: ASYNC110 - what is waited for has no event to offer
            await asyncio.sleep(_POLL_SECONDS)


def bare_event(order_id: str, version: int) -> OrderEvent:
    return OrderEvent(order_id=order_id, version=version)


def append_orders(sync: FakeSync, count: int, *, first: int = 0, shard: int | None = None) -> list[OrderEvent]:
    """Appends the first event of `count` orders."""
    return [sync.append(bare_event(f"o-{number}", 1), shard=shard) for number in range(first, first + count)]


def line(
    product_id: str,
    *,
    leaves: int = 0,
    filled: int = 0,
    returned: int = 0,
    price_nanos: int = 1_500_000_000,
    filled_minor_units: int | None = None,
) -> OrderLine:
    result = OrderLine(
        line_id=product_id,
        product_id=product_id,
        quantity=leaves + filled,
        leaves=leaves,
        filled=filled,
        returned=returned,
    )
    result.unit_price.nanos = price_nanos
    result.unit_price.currency_code = "USD"
    result.filled_amount.currency_code = "USD"
    result.filled_amount.minor_units = (
        filled * price_nanos // 10_000_000 if filled_minor_units is None else filled_minor_units
    )
    return result


def order_event(order_id: str, version: int, lines: Sequence[OrderLine], *, customer_id: str = "c-1") -> OrderEvent:
    order = Order(order_id=order_id, version=version, customer_id=customer_id, currency_code="USD", lines=lines)
    return OrderEvent(order_id=order_id, version=version, order=order)
