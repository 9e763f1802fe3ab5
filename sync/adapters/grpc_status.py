"""How this service's own refusals are told on the wire."""

from typing import Final

from grpc import StatusCode

from infra.runtime.grpc.status import ErrorTable, Refusal, Violation
from sync.application.ports import SourceUnavailableError
from sync.domain.errors import (
    AckRefusedError,
    OrderNotFoundError,
    SubscriptionFilterChangedError,
    SubscriptionNotFoundError,
    TooManyStreamsError,
)

DOMAIN: Final = "sync.stateset.dev"

ERRORS: Final[ErrorTable] = {
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
        metadata={"subscription": error.name[:64]},
    ),
    AckRefusedError: lambda error: Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=str(error),
        violations=[Violation(error.field, error.description)],
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
}
