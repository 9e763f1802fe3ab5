"""Fills, and fills that are taken back."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from infra.kernel.money import AMOUNT_MAX, amount
from order.domain.changes import Change, OrderFillBusted, OrderFillRecorded
from order.domain.commands import BustFill, RecordFill
from order.domain.errors import MoneyError, OverfillError, RecordNotFoundError, TooLateToBustError
from order.domain.lines import Effect, Given, check_quantities
from order.domain.order import Line, Order
from order.domain.records import Fill, PricedFillLine


def _fill(order: Order, command: RecordFill, _given: Given) -> list[Change]:
    """A fill that comes late takes units that were canceled: legality and policy have let it through."""
    late = order.close_reason is not None
    lines = check_quantities(
        order,
        command.lines,
        (lambda line: line.canceled) if late else (lambda line: line.leaves),
        OverfillError,
        "fill.lines",
    )
    fill = Fill(record_id=command.record_id, lines=tuple(_priced(order, command, lines)), version=order.version + 1)
    return [OrderFillRecorded(history=fill, late=late)]


def _priced(order: Order, command: RecordFill, lines: Mapping[str, Line]) -> Iterator[PricedFillLine]:
    total = sum(line.filled_amount for line in order.lines)
    for index, each in enumerate(command.lines):
        line, path = lines[each.line_id], f"fill.lines[{index}].price"
        if each.price is not None and each.price.currency_code != order.currency_code:
            raise MoneyError(path, "must be in the order's currency")
        nanos = line.price_nanos if each.price is None else each.price.nanos
        cost = _amount(line, each.quantity, nanos, order.currency_code)
        total += cost
        if total > AMOUNT_MAX:
            raise MoneyError(path, f"would take the order above {AMOUNT_MAX} minor units")
        yield PricedFillLine(line_id=each.line_id, quantity=each.quantity, price_nanos=nanos, amount=cost)


def _amount(line: Line, quantity: int, price_nanos: int, currency_code: str) -> int:
    """Fills at the line's own price round together, so that they add up to the line's amount; others by themselves."""
    if price_nanos == line.price_nanos:
        together = amount(line.filled_at_price + quantity, price_nanos, currency_code)
        return max(0, together - line.filled_at_price_amount)  # below 0 where fills were busted that had rounded down
    return amount(quantity, price_nanos, currency_code)


def _bust(order: Order, command: BustFill, given: Given) -> list[Change]:
    record = given.records.get((order.order_id, Fill.kind, command.record_id))
    if record is None or not isinstance(record.history, Fill):
        raise RecordNotFoundError(order.order_id, Fill.kind, command.record_id)
    fill = record.history
    check_quantities(order, fill.lines, lambda line: line.filled - line.shipped, TooLateToBustError)
    return [OrderFillBusted(fill=fill, closed=order.close_reason is not None)]


def _filled(order: Order, change: OrderFillRecorded) -> Effect:
    return Effect(lines=_with_fill(order, change.history, sign=1, canceled=-1 if change.late else 0))


def _busted(order: Order, change: OrderFillBusted) -> Effect:
    return Effect(lines=_with_fill(order, change.fill, sign=-1, canceled=1 if change.closed else 0))


def _with_fill(order: Order, fill: Fill, *, sign: int, canceled: int) -> tuple[Line, ...]:
    parts = {each.line_id: each for each in fill.lines}
    return tuple(
        _line_with_fill(line, parts[line.line_id], fill.version, sign, canceled) if line.line_id in parts else line
        for line in order.lines
    )


def _line_with_fill(line: Line, part: PricedFillLine, version: int, sign: int, canceled: int) -> Line:
    at_price = sign * (part.price_nanos == line.price_nanos and version > line.price_version)
    return line._replace(
        filled=line.filled + sign * part.quantity,
        filled_amount=line.filled_amount + sign * part.amount,
        filled_at_price=line.filled_at_price + at_price * part.quantity,
        filled_at_price_amount=line.filled_at_price_amount + at_price * part.amount,
        canceled=line.canceled + canceled * part.quantity,
    )


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {RecordFill: _fill, BustFill: _bust}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    OrderFillRecorded: _filled,
    OrderFillBusted: _busted,
}
