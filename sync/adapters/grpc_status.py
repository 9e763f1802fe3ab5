"""How this service's own refusals are told on the wire."""

from typing import Final

from grpc import StatusCode

from infra.kernel.position import PositionExpiredError
from infra.runtime.grpc.status import ErrorTable, Refusal, Violation, position_expired
from sync.application.offset_ports import BusBusyError, BusRefusedError, BusUnavailableError, NoBusError
from sync.application.ports import SourceUnavailableError
from sync.domain.errors import (
    AckRefusedError,
    CallerSilentError,
    EpochNeverGivenError,
    FencedError,
    OffsetAheadError,
    OffsetExpiredError,
    OrderNotFoundError,
    SubscriptionFilterChangedError,
    SubscriptionNotFoundError,
    TooManyStreamsError,
)

DOMAIN: Final = "sync.stateset.dev"


def _no_bus(reason: str, error: Exception) -> Refusal:
    return Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason=reason,
        message=str(error),
        metadata={"subject": "bus"},
        precondition="BUS",
    )


ERRORS: Final[ErrorTable] = {
    PositionExpiredError: position_expired(snapshot_available=True),
    OrderNotFoundError: lambda error: Refusal(
        code=StatusCode.NOT_FOUND,
        reason="ORDER_NOT_FOUND",
        message=str(error),
        metadata={"order_id": error.order_id[:64]},
    ),
    SubscriptionNotFoundError: lambda error: Refusal(
        code=StatusCode.NOT_FOUND,
        reason="SUBSCRIPTION_NOT_FOUND",
        message=str(error),
        metadata={"subscription": error.name},
    ),
    CallerSilentError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="CALLER_SILENT", message=str(error), retry_after_seconds=0
    ),
    FencedError: lambda error: Refusal(
        code=StatusCode.ABORTED, reason="FENCED", message=str(error), metadata={"subscription": error.name}
    ),
    AckRefusedError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=str(error),
        violations=[Violation(error.field, error.description)],
    ),
    EpochNeverGivenError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=str(error),
        violations=[Violation("frame.open.checkpoint_epoch", str(error))],
    ),
    SubscriptionFilterChangedError: lambda error: Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason="SUBSCRIPTION_FILTER_CHANGED",
        message=str(error),
        metadata={"subject": error.name},
        precondition="SUBSCRIPTION_FILTER",
    ),
    TooManyStreamsError: lambda error: Refusal(
        code=StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", message=str(error), retry_after_seconds=5
    ),
    SourceUnavailableError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="LOG_UNAVAILABLE", message=str(error), retry_after_seconds=1
    ),
    OffsetExpiredError: lambda error: Refusal(
        code=StatusCode.OUT_OF_RANGE,
        reason="POSITION_EXPIRED",
        message=str(error),
        metadata={"partition": str(error.partition), "earliest_offset": str(error.first)},
    ),
    OffsetAheadError: lambda error: Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason="POSITION_AHEAD",
        message=str(error),
        metadata={"partition": str(error.partition), "end_offset": str(error.behind)},
        precondition="POSITION",
    ),
    NoBusError: lambda error: _no_bus("NO_BUS", error),
    BusRefusedError: lambda error: _no_bus("BUS_REFUSED", error),
    BusUnavailableError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="BUS_UNAVAILABLE", message=str(error), retry_after_seconds=1
    ),
    BusBusyError: lambda error: Refusal(
        code=StatusCode.RESOURCE_EXHAUSTED, reason="OVERLOADED", message=str(error), retry_after_seconds=1
    ),
}
