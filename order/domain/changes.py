"""What changes when a command is granted: one event each."""

from dataclasses import dataclass

from order.domain.commands import (
    Disposition,
    HoldOrder,
    LineQuantity,
    PlaceOrder,
    RecordDelivery,
    RecordPayment,
    RecordRefund,
)
from order.domain.records import Fill, Return, Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPlaced:
    """The order was placed."""

    command: PlaceOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAccepted:
    """The business accepted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRejected:
    """It was refused; by the pre-trade checks that are named, if any are."""

    reason_code: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTerms:
    """What of a line may be amended."""

    line_id: str
    quantity: int
    price_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """What of an order may be amended: the lines that were, and when it expires."""

    lines: tuple[LineTerms, ...]
    expire_time_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAmended:
    """Other terms hold."""

    paths: tuple[str, ...]
    before: OrderTerms
    after: OrderTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCanceled:
    """Open units were canceled."""

    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelRequested:
    """The market was asked to cancel open units."""

    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelRejected:
    """The market has canceled nothing."""

    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExpired:
    """What was open has expired."""

    lines: tuple[LineQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFillRecorded:
    """Units were filled; units that were canceled until now, if it came late."""

    history: Fill
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFillBusted:
    """A fill was taken back; its units are canceled if the order was closed, open if it was not."""

    fill: Fill
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHeld:
    """A hold was put on."""

    command: HoldOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHoldReleased:
    """A hold was taken off."""

    hold_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderShipped:
    """Units were handed to a carrier."""

    history: Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDelivered:
    """Units arrived."""

    command: RecordDelivery
    history: Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRequested:
    """The customer asks to give units back."""

    history: Return


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnApproved:
    """A return was granted."""

    history: Return


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnRejected:
    """A return was refused."""

    history: Return
    reason_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnReceived:
    """Units of a return are done with."""

    history: Return
    lines: tuple[LineQuantity, ...]
    disposition: Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPaymentUpdated:
    """Money was authorized or captured."""

    command: RecordPayment


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRefunded:
    """Captured money was given back."""

    command: RecordRefund


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPersonalDataErased:
    """Whatever personal data the order had was erased."""


HistoricChange = (
    OrderFillRecorded
    | OrderShipped
    | OrderDelivered
    | ReturnRequested
    | ReturnApproved
    | ReturnRejected
    | ReturnReceived
)
"""A change whose `history` is from now on what the record of its id stands for."""

Change = (
    HistoricChange
    | OrderPlaced
    | OrderAccepted
    | OrderRejected
    | OrderAmended
    | OrderCanceled
    | OrderCancelRequested
    | OrderCancelRejected
    | OrderExpired
    | OrderFillBusted
    | OrderHeld
    | OrderHoldReleased
    | OrderPaymentUpdated
    | OrderRefunded
    | OrderPersonalDataErased
)
