"""What an order's history keeps under an id of its own: fills, shipments, returns, and that an id was used."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from order.domain.commands import OWN_RECORD_KIND, LineQuantity

RecordKey = tuple[str, str, str]
"""An order's id, the kind of the record and the record's id."""


def own_record(order_id: str) -> RecordKey:
    """The key of the record that makes the order's own id unique for ever."""
    return order_id, OWN_RECORD_KIND, order_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedFillLine:
    """Units of one line that were filled, with what they cost in minor units."""

    line_id: str
    quantity: int
    price_nanos: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Units that were executed, or allocated from stock.

    Attributes:
        version: The order's version after it.
    """

    kind: ClassVar = "fill"
    record_id: str
    lines: tuple[PricedFillLine, ...]
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """Units that were handed to a carrier, and those of them that have arrived."""

    kind: ClassVar = "shipment"
    record_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str
    tracking_number: str
    delivered: tuple[LineQuantity, ...] = ()


class ReturnState(StrEnum):
    """Where a return stands."""

    REQUESTED = "REQUESTED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    RECEIVED = "RECEIVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Units that the customer gives back, and those of them that are done with."""

    kind: ClassVar = "return"
    record_id: str
    lines: tuple[LineQuantity, ...]
    reason_code: str
    state: ReturnState = ReturnState.REQUESTED
    received: tuple[LineQuantity, ...] = ()


History = Fill | Shipment | Return


@dataclass(frozen=True, slots=True)
class Record:
    """One id that was used.

    Attributes:
        content: A hash of what a repeat of the same id must say again; of an order that was placed with personal data,
            and behind a dot, one of that, until it is erased.
        history: What it stands for now, where more than the hash is needed.
    """

    content: str
    history: History | None = None

    @property
    def erased(self) -> "Record":
        """The record without anything of personal data."""
        return Record(self.content.partition(".")[0], self.history)


def added(counted: tuple[LineQuantity, ...], more: tuple[LineQuantity, ...]) -> tuple[LineQuantity, ...]:
    """Both together, one entry a line."""
    sums = quantities(counted)
    for each in more:
        sums[each.line_id] = sums.get(each.line_id, 0) + each.quantity
    return tuple(LineQuantity(line_id=line_id, quantity=quantity) for line_id, quantity in sums.items())


def left(all_lines: tuple[LineQuantity, ...], done: tuple[LineQuantity, ...]) -> Mapping[str, int]:
    """By line, the units that are not done."""
    counted = quantities(done)
    return {each.line_id: each.quantity - counted.get(each.line_id, 0) for each in all_lines}


def quantities(lines: tuple[LineQuantity, ...]) -> dict[str, int]:
    """The quantity by line."""
    return {each.line_id: each.quantity for each in lines}
