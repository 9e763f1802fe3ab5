"""What went wrong, as a class per reason: the contract's error details, read back from the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

_DETAILS: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field of a request, and what would be right."""

    field: str
    description: str


class StateSetError(Exception):
    """Anything that a call or a stream can end with.

    Attributes:
        code: The gRPC status code.
        reason: The machine-readable reason, such as "ORDER_NOT_FOUND"; empty where the peer gave none.
        message: For people.
        metadata: Facts for programs.
        violations: What is wrong with each field, where fields are wrong.
        retry_after_seconds: When trying again makes sense, where the peer said so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(StateSetError):
    """Fields of the request are wrong: `violations` names every one. Mend the request."""


class RequestIdReusedError(StateSetError):
    """The request id was used for other content; `metadata` names the fields that differ."""


class RequestFencedError(StateSetError):
    """The command comes after its caller was told for good that it was not carried out; nothing was done."""


class IdConflictError(StateSetError):
    """An order, or something of it, of this id exists with other content."""


class OrderNotFoundError(StateSetError):
    """There is no such order, or it is not yours."""


class StateConflictError(StateSetError):
    """The order's state does not allow the command: `metadata` has the state and what is allowed."""


class TooLateToCancelError(StateConflictError):
    """Fewer units are open than were to be canceled."""


class OverfillError(StateConflictError):
    """More units were filled than are open."""


class OvershipError(StateConflictError):
    """More units were shipped than are filled and still here."""


class OverdeliveryError(StateConflictError):
    """More units arrived than are on their way in that shipment."""


class OrderHeldError(StateConflictError):
    """A hold keeps the order from this."""


class OrderClosedError(StateConflictError):
    """The fill comes after the order was closed."""


class PreTradeCheckError(StateConflictError):
    """Amended like that, the order would fail checks that orders are judged by as they are placed."""


class TooLateToAmendError(StateConflictError):
    """Fewer units are open than were to be taken off."""


class TooLateToBustError(StateConflictError):
    """Units of the fill have been shipped."""


class OverreturnError(StateConflictError):
    """More units were to be given back than are delivered and in no return."""


class OverreceiptError(StateConflictError):
    """More units were received than are open in the return."""


class ReturnStateConflictError(StateConflictError):
    """The return's state does not allow the command."""


class OvercaptureError(StateConflictError):
    """More money was captured than is authorized and not captured."""


class OverrefundError(StateConflictError):
    """More money was refunded than is captured and not refunded."""


class RecordNotFoundError(StateSetError):
    """The order has no such fill, hold, shipment or return."""


class ShipmentNotFoundError(RecordNotFoundError):
    """The order has no such shipment."""


class SubscriptionNotFoundError(StateSetError):
    """The caller has no such subscription."""


class SubscriptionFilterChangedError(StateSetError):
    """The subscription was made with another filter: use another name."""


class NoBusError(StateSetError):
    """The server reads no Kafka, or one without this log's topic: offsets mean nothing to it."""


class EtagMismatchError(StateSetError):
    """The order has changed since it was read: read it again, then decide."""


class OverloadedError(StateSetError):
    """The caller's limit or the service's capacity is reached: wait."""


class UnavailableError(StateSetError):
    """Nobody answered, or who answered cannot serve now. A command may be repeated with the same request id."""


class PositionNotReachedError(UnavailableError):
    """The data does not include `min_position` yet."""


class PositionError(StateSetError):
    """A position that cannot be read from. Trying again heals none of them."""


class PositionExpiredError(PositionError):
    """Older than anything that is kept."""


class PositionAheadError(PositionError):
    """Beyond the head of the log."""


class LogEpochChangedError(PositionError):
    """A position of another log."""


class PositionMalformedError(PositionError):
    """Not a position of this log."""


class PositionFilterMismatchError(PositionError):
    """Reached under another filter."""


class GapError(StateSetError):
    """The stream did not go on at the event that was due. Nothing after the gap is handed out."""

    def __init__(self, shard: int, expected: int, got: int) -> None:
        super().__init__(
            f"shard {shard} was to go on at seq {expected} and went on at {got}",
            code=grpc.StatusCode.DATA_LOSS,
            reason="GAP",
        )


class VersionGapError(StateSetError):
    """An order's event is not the one that follows what is stored."""

    def __init__(self, order_id: str, stored: int, got: int) -> None:
        super().__init__(
            f"order {order_id} is stored at version {stored}, and the event is of version {got}",
            code=grpc.StatusCode.DATA_LOSS,
            reason="VERSION_GAP",
        )


class FencedError(StateSetError):
    """A newer reader has taken over, or the subscription was moved or deleted; this one changes nothing any more."""

    @classmethod
    def of(cls, message: str) -> "FencedError":
        """As the server would say it."""
        return cls(message, code=grpc.StatusCode.ABORTED, reason="FENCED")


BY_REASON: Final[Mapping[str, type[StateSetError]]] = {
    "INVALID_REQUEST": InvalidRequestError,
    "REQUEST_ID_REUSED": RequestIdReusedError,
    "REQUEST_FENCED": RequestFencedError,
    "ORDER_ID_CONFLICT": IdConflictError,
    "FILL_ID_CONFLICT": IdConflictError,
    "SHIPMENT_ID_CONFLICT": IdConflictError,
    "DELIVERY_ID_CONFLICT": IdConflictError,
    "HOLD_ID_CONFLICT": IdConflictError,
    "RETURN_ID_CONFLICT": IdConflictError,
    "PAYMENT_ID_CONFLICT": IdConflictError,
    "REFUND_ID_CONFLICT": IdConflictError,
    "ORDER_NOT_FOUND": OrderNotFoundError,
    "ORDER_STATE_CONFLICT": StateConflictError,
    "TOO_LATE_TO_CANCEL": TooLateToCancelError,
    "OVERFILL": OverfillError,
    "OVERSHIP": OvershipError,
    "OVERDELIVERY": OverdeliveryError,
    "ORDER_HELD": OrderHeldError,
    "ORDER_CLOSED": OrderClosedError,
    "PRE_TRADE_CHECK": PreTradeCheckError,
    "TOO_LATE_TO_AMEND": TooLateToAmendError,
    "TOO_LATE_TO_BUST": TooLateToBustError,
    "OVERRETURN": OverreturnError,
    "OVERRECEIPT": OverreceiptError,
    "RETURN_STATE_CONFLICT": ReturnStateConflictError,
    "OVERCAPTURE": OvercaptureError,
    "OVERREFUND": OverrefundError,
    "SHIPMENT_NOT_FOUND": ShipmentNotFoundError,
    "FILL_NOT_FOUND": RecordNotFoundError,
    "HOLD_NOT_FOUND": RecordNotFoundError,
    "RETURN_NOT_FOUND": RecordNotFoundError,
    "SUBSCRIPTION_NOT_FOUND": SubscriptionNotFoundError,
    "SUBSCRIPTION_FILTER_CHANGED": SubscriptionFilterChangedError,
    "NO_BUS": NoBusError,
    "BUS_REFUSED": NoBusError,
    "FENCED": FencedError,
    "ETAG_MISMATCH": EtagMismatchError,
    "RATE_LIMITED": OverloadedError,
    "OVERLOADED": OverloadedError,
    "POSITION_NOT_REACHED": PositionNotReachedError,
    "POSITION_EXPIRED": PositionExpiredError,
    "POSITION_AHEAD": PositionAheadError,
    "LOG_EPOCH_CHANGED": LogEpochChangedError,
    "POSITION_MALFORMED": PositionMalformedError,
    "POSITION_FILTER_MISMATCH": PositionFilterMismatchError,
}
# For statuses without a reason that is known: those of gRPC itself, and tomorrow's.
_BY_CODE: Final[Mapping[grpc.StatusCode, type[StateSetError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
}
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def error_of(error: grpc.aio.AioRpcError) -> StateSetError:
    """The typed error that a failed call stands for."""
    return _typed(error.code(), error.details() or "", _status(error))


def error_of_status(status: status_pb2.Status) -> StateSetError:
    """The typed error that a status in a reply stands for."""
    return _typed(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def _typed(code: grpc.StatusCode, message: str, status: status_pb2.Status) -> StateSetError:
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    told_to_wait = False
    for detail in status.details:
        told_to_wait |= detail.Unpack(retry)
        _ = detail.Unpack(info) or detail.Unpack(bad)
    kind = BY_REASON.get(info.reason) or _BY_CODE.get(code, StateSetError)
    return kind(
        message,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=[Violation(each.field, each.description) for each in bad.field_violations],
        retry_after_seconds=retry.retry_delay.ToMicroseconds() / 1e6 if told_to_wait else None,
    )


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
