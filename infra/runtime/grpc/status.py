"""From exceptions to gRPC status: each service has one table, its answers have one shape.

Every error carries `google.rpc.ErrorInfo`; field errors add `BadRequest`, state errors `PreconditionFailure`, waits
`RetryInfo`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from infra.kernel.filter import FilterError
from infra.kernel.position import (
    LogEpochChangedError,
    PositionAheadError,
    PositionExpiredError,
    PositionFilterMismatchError,
    PositionMalformedError,
)
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.subscriptions import TooManySubscriptionsError

# Details travel in metadata, which is refused above 8 KiB: all of these together stay below 6.
VIOLATIONS_MAX: Final = 20
_VIOLATION_BYTES_MAX: Final = 3_000
_TEXT_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field: its path as in the request message, and what would be right."""

    field: str
    description: str


class InvalidRequestError(Exception):
    """A request whose fields cannot be understood: all of them at once, or the first 20."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations[:VIOLATIONS_MAX])
        super().__init__("; ".join(map(_said, self.violations)))


def _said(violation: Violation) -> str:
    return f"{violation.field}: {violation.description}" if violation.field else violation.description


class DeadlineTooShortError(Exception):
    """Too little time is left to begin; nothing was done."""


class StoppingError(Exception):
    """The process is leaving; another one, or the next one, serves the same."""


class EncodedRefusalError(Exception):
    """A refusal that is encoded already: a `google.rpc.Status`, sent as it is."""

    def __init__(self, status: bytes) -> None:
        super().__init__("refused")
        self.status = status


class StalePositionError(Exception):
    """The data does not include `min_position` yet, and the caller's time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How one error is told on the wire.

    Attributes:
        metadata: Facts for programs; short strings.
        precondition: The kind of the state that was in the way, if one was.
        retry_after_seconds: When trying again makes sense, if it ever does.
    """

    code: StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[Violation] = ()
    precondition: str = ""
    retry_after_seconds: float | None = None


ErrorTable = Mapping[type[Exception], Callable[[Any], Refusal]]


def refusal_of(error: Exception, table: ErrorTable) -> Refusal | None:
    """The refusal that the table has for the error's class or the nearest of its parents; none if it is unforeseen."""
    for kind in type(error).__mro__:
        make = table.get(kind)
        if make is not None:
            return make(error)
    return None


def to_status(refusal: Refusal, domain: str) -> status_pb2.Status:
    """The refusal as the rich status of the wire."""
    metadata = {key: value[:_TEXT_MAX] for key, value in refusal.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=domain, metadata=metadata)
    details: list[Message] = [info]
    if refusal.violations:
        bad = error_details_pb2.BadRequest()
        for each in refusal.violations[:VIOLATIONS_MAX]:
            if bad.ByteSize() > _VIOLATION_BYTES_MAX:
                break
            bad.field_violations.add(field=each.field[:_TEXT_MAX], description=each.description[:_TEXT_MAX])
        details.append(bad)
    if refusal.precondition:
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(
            type=refusal.precondition,
            subject=refusal.metadata.get("subject", ""),
            description=refusal.message[:_TEXT_MAX],
        )
        details.append(failure)
    if refusal.retry_after_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(refusal.retry_after_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message[:_TEXT_MAX])
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _position_refusal(error: Exception) -> Refusal:
    return Refusal(code=StatusCode.INVALID_ARGUMENT, reason="POSITION_MALFORMED", message=str(error))


def position_expired(*, snapshot_available: bool) -> Callable[[Any], Refusal]:
    """The row of `PositionExpiredError`, by whether the service has snapshots to begin from instead."""
    return lambda error: Refusal(
        code=StatusCode.OUT_OF_RANGE,
        reason="POSITION_EXPIRED",
        message=str(error),
        metadata={
            "shard": str(error.shard),
            "earliest": str(error.earliest_seq),
            "snapshot_available": str(snapshot_available).lower(),
        },
    )


COMMON_ERRORS: Final[ErrorTable] = {
    InvalidRequestError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT, reason="INVALID_REQUEST", message=str(error), violations=error.violations
    ),
    FilterError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=f"filter: {error}",
        violations=[Violation("filter", str(error))],
    ),
    DecodeError: lambda _error: Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message="the bytes are not a message of the contract",
        violations=[Violation("", "cannot be read as the request's message")],
    ),
    DeadlineTooShortError: lambda error: Refusal(
        code=StatusCode.DEADLINE_EXCEEDED, reason="DEADLINE_TOO_SHORT", message=str(error)
    ),
    StoppingError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="STOPPING", message=str(error), retry_after_seconds=0.2
    ),
    StalePositionError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="POSITION_NOT_REACHED", message=str(error), retry_after_seconds=0.1
    ),
    DatabaseUnavailableError: lambda _error: Refusal(
        code=StatusCode.UNAVAILABLE,
        reason="STORE_UNAVAILABLE",
        message="the database cannot be used now; try again, a command with the same request_id",
        retry_after_seconds=0.2,
    ),
    TooManySubscriptionsError: lambda error: Refusal(
        code=StatusCode.RESOURCE_EXHAUSTED,
        reason="TOO_MANY_SUBSCRIPTIONS",
        message=str(error),
        metadata={"subscriptions_max": str(error.subscriptions_max)},
    ),
    PositionMalformedError: _position_refusal,
    PositionFilterMismatchError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT, reason="POSITION_FILTER_MISMATCH", message=str(error)
    ),
    LogEpochChangedError: lambda error: Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason="LOG_EPOCH_CHANGED",
        message=str(error),
        metadata={"log_epoch": error.ours},
        precondition="LOG_EPOCH",
    ),
    PositionAheadError: lambda error: Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason="POSITION_AHEAD",
        message=str(error),
        metadata={"shard": str(error.shard), "next_seq": str(error.next_seq)},
        precondition="POSITION",
    ),
    PositionExpiredError: position_expired(snapshot_available=False),
}
