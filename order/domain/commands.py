"""What can be asked of an order."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, NamedTuple

from infra.kernel.money import amount

OWN_RECORD_KIND: Final = "order"


class NewLine(NamedTuple):
    """A line of an order to place, as `Line` begins; its price in billionths of the currency's main unit."""

    line_id: str
    product_id: str
    quantity: int
    price_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuantity:
    """Units of one line."""

    line_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPrice:
    """Price of one unit in billionths of the currency's main unit."""

    currency_code: str
    nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillLine:
    """Units of one line executed at a price; at the line's own where there is none."""

    line_id: str
    quantity: int
    price: UnitPrice | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineAmendment:
    """What is to hold for a line from now on; None leaves it as it is."""

    line_id: str
    quantity: int | None = None
    price: UnitPrice | None = None


class PaymentKind(StrEnum):
    """What a payment does."""

    AUTHORIZE = "AUTHORIZE"
    CAPTURE = "CAPTURE"
    SALE = "SALE"


class Disposition(StrEnum):
    """What became of returned goods."""

    RESTOCK = "RESTOCK"
    WRITE_OFF = "WRITE_OFF"
    DISMISS = "DISMISS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Money in the minor units of its currency."""

    currency_code: str
    minor_units: int


class PlaceOrder(NamedTuple):
    """Place a new order. Its record makes the id unique for ever.

    Attributes:
        personal_hash: Tells its personal data from other; empty for none. Unlike the rest, an erasure has to find it.
    """

    order_id: str
    customer_id: str
    store_id: str
    currency_code: str
    lines: tuple[NewLine, ...]
    expected_total: int | None
    personal_paths: tuple[str, ...] = ()
    expire_time_us: int | None = None
    market_id: str = ""
    personal_hash: str = ""

    def __repr__(self) -> str:
        """Without the hash: of the rest a hash is kept for ever."""
        return _PLACE_ORDER % self[:-1]

    @property
    def record_kind(self) -> str:
        """That of the order's own record."""
        return OWN_RECORD_KIND

    @property
    def record_id(self) -> str:
        """The order's own id."""
        return self.order_id

    @property
    def total(self) -> int:
        """What the lines come to, each rounded by itself, in minor units."""
        return sum(amount(line.quantity, line.price_nanos, self.currency_code) for line in self.lines)


_PLACE_ORDER: Final = f"PlaceOrder({', '.join([f'{name}=%r' for name in PlaceOrder._fields[:-1]])})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptOrder:
    """Accept a pending order."""

    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectOrder:
    """Refuse a pending order."""

    order_id: str
    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendOrder:
    """Change what has not happened yet: lines, the expiry where `paths` names it, and personal data."""

    order_id: str
    paths: tuple[str, ...]
    lines: tuple[LineAmendment, ...] = ()
    expire_time_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel open units: those named, or all. The market that owns the order is asked first."""

    order_id: str
    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmOrderCancel:
    """The market has canceled these units, or all that are open."""

    order_id: str
    market_id: str
    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectOrderCancel:
    """The market has canceled nothing."""

    order_id: str
    market_id: str
    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireOrder:
    """Close an order whose time has come, as the timer saw it at `time_us`."""

    order_id: str
    time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFill:
    """Record that open units were filled."""

    record_kind: ClassVar = "fill"
    order_id: str
    record_id: str
    lines: tuple[FillLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BustFill:
    """Take a fill back; a record of its own under the fill's id, so that it counts once."""

    record_kind: ClassVar = "bust"
    order_id: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOrder:
    """Keep the order from being shipped, and filled if it says so, until the hold is released."""

    record_kind: ClassVar = "hold"
    order_id: str
    record_id: str
    reason_code: str
    blocks_fills: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOrderHold:
    """Take a hold off; a record of its own under the hold's id, so that it counts once."""

    record_kind: ClassVar = "release"
    order_id: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordShipment:
    """Record that filled units were handed to a carrier."""

    record_kind: ClassVar = "shipment"
    order_id: str
    record_id: str
    lines: tuple[LineQuantity, ...]
    carrier: str
    tracking_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDelivery:
    """Record that shipped units arrived."""

    record_kind: ClassVar = "delivery"
    order_id: str
    record_id: str
    shipment_id: str
    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReturn:
    """Record that the customer wants to give delivered units back."""

    record_kind: ClassVar = "return"
    order_id: str
    record_id: str
    lines: tuple[LineQuantity, ...]
    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveReturn:
    """Grant a return."""

    order_id: str
    return_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectReturn:
    """Refuse a return."""

    order_id: str
    return_id: str
    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveReturn:
    """Record what became of units of an approved return: those named, or all that are open."""

    order_id: str
    return_id: str
    lines: tuple[LineQuantity, ...]
    disposition: Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordPayment:
    """Record that money was authorized or captured."""

    record_kind: ClassVar = "payment"
    order_id: str
    record_id: str
    payment: PaymentKind
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRefund:
    """Record that captured money was given back."""

    record_kind: ClassVar = "refund"
    order_id: str
    record_id: str
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseOrderPersonalData:
    """Erase whatever personal data the order has."""

    order_id: str


RecordingCommand = (
    PlaceOrder
    | RecordFill
    | BustFill
    | HoldOrder
    | ReleaseOrderHold
    | RecordShipment
    | RecordDelivery
    | RequestReturn
    | RecordPayment
    | RecordRefund
)
CancelAnswer = ConfirmOrderCancel | RejectOrderCancel
ReturnCommand = ApproveReturn | RejectReturn | ReceiveReturn
Command = (
    RecordingCommand
    | AcceptOrder
    | RejectOrder
    | AmendOrder
    | CancelOrder
    | CancelAnswer
    | ExpireOrder
    | ReturnCommand
    | EraseOrderPersonalData
)
