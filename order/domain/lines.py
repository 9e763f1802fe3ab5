"""What the commands on lines have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypedDict

from order.domain.errors import QuantityConflictError, UnknownLineError
from order.domain.order import CloseReason, Hold, Line, Order
from order.domain.policy import Policy
from order.domain.records import Record, RecordKey


class Given(NamedTuple):
    """What a decision looks at beside the order."""

    records: Mapping[RecordKey, Record]
    policy: Policy


class Effect(TypedDict, total=False):
    """The fields of an order that a change replaces."""

    lines: tuple[Line, ...]
    accepted: bool
    rejected: bool
    close_reason: CloseReason | None
    expire_time_us: int | None
    cancel_requested: bool
    holds: tuple[Hold, ...]
    authorized: int
    captured: int
    refunded: int
    personal_erase_time_us: int | None


class _Asked(Protocol):
    @property
    def line_id(self) -> str: ...

    @property
    def quantity(self) -> int: ...


def check_quantities(
    order: Order,
    asked: Sequence[_Asked],
    left: Callable[[Line], int],
    error: type[QuantityConflictError],
    path: str = "lines",
) -> dict[str, Line]:
    """The order's lines by id, once every asked line is known and has enough units left.

    Raises:
        UnknownLineError: At `path`, where the request has the lines, is one that the order has not.
        QuantityConflictError: Of the kind `error`.
    """
    lines = {line.line_id: line for line in order.lines}
    for index, each in enumerate(asked):
        line = lines.get(each.line_id)
        if line is None:
            raise UnknownLineError(each.line_id, f"{path}[{index}]")
        if each.quantity > left(line):
            raise error(order, each.line_id, each.quantity, left(line))
    return lines


def moved(order: Order, lines: Sequence[_Asked], *, to: str = "", out_of: str = "") -> tuple[Line, ...]:
    """The order's lines with these units added to one counter and taken from another."""
    units = {each.line_id: each.quantity for each in lines}
    return tuple(
        _moved(line, units[line.line_id], to, out_of) if line.line_id in units else line for line in order.lines
    )


def _moved(line: Line, quantity: int, to: str, out_of: str) -> Line:
    counters = {}
    if to:
        counters[to] = getattr(line, to) + quantity
    if out_of:
        counters[out_of] = getattr(line, out_of) - quantity
    return line._replace(**counters)
