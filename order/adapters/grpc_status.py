"""How each refusal of the Order Service looks on the wire: the one table."""

from collections.abc import Mapping
from typing import Any, Final

from grpc import StatusCode

from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.grpc.status import COMMON_ERRORS, ErrorTable, Refusal, Violation
from order.application.relay_ports import BusRefusedError, BusUnavailableError
from order.domain import errors
from order.domain.legality import allowed_actions
from order.domain.order import Order

DOMAIN: Final = "order.stateset.dev"
STORED_CODES: Final = frozenset({StatusCode.FAILED_PRECONDITION, StatusCode.ALREADY_EXISTS, StatusCode.NOT_FOUND})
"""Refusals that the same command would always meet again: a repeat gets the stored one."""

_RETRY_SECONDS: Final = 0.2
_BUS_RETRY_SECONDS: Final = 1.0


def _standing(order: Order) -> Mapping[str, str]:
    return {
        "subject": f"orders/{order.order_id}",
        "state": order.state.value,
        "version": str(order.version),
        "allowed_actions": ",".join(allowed_actions(order)),
    }


def _conflict(reason: str, precondition: str, *attributes: str) -> Any:  # noqa: ANN401 - an entry of the table
    """A command that the order as it stands does not allow; `attributes` of the error say what is in the way."""

    def refuse(error: Any) -> Refusal:  # noqa: ANN401 - any error with an order
        return Refusal(
            code=StatusCode.FAILED_PRECONDITION,
            reason=reason,
            message=str(error),
            metadata={**_standing(error.order), **{name: str(getattr(error, name)) for name in attributes}},
            precondition=precondition,
        )

    return refuse


def _quantity_conflict(reason: str) -> Any:  # noqa: ANN401 - an entry of the table
    return _conflict(reason, "LINE_QUANTITY", "line_id", "asked", "left")


def _invalid(error: Exception, field: str) -> Refusal:
    return Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="INVALID_REQUEST",
        message=f"{field}: {error}",
        violations=[Violation(field, str(error))],
    )


def _no_bus(reason: str, error: Exception) -> Refusal:
    metadata = {"subject": "bus"}
    return Refusal(
        code=StatusCode.FAILED_PRECONDITION, reason=reason, message=str(error), metadata=metadata, precondition="BUS"
    )


def _request_id_reused(error: errors.RequestIdReusedError) -> Refusal:
    return Refusal(
        code=StatusCode.INVALID_ARGUMENT,
        reason="REQUEST_ID_REUSED",
        message=str(error),
        metadata={"differing_fields": ",".join(error.differing_fields)},
        violations=[Violation(field, "differs from the first request") for field in error.differing_fields],
    )


ERRORS: Final[ErrorTable] = {
    errors.OrderNotFoundError: lambda error: Refusal(
        code=StatusCode.NOT_FOUND, reason="ORDER_NOT_FOUND", message=str(error), metadata={"order_id": error.order_id}
    ),
    errors.OrderStateConflictError: _conflict("ORDER_STATE_CONFLICT", "ORDER_STATE"),
    errors.HoldReleasedError: _conflict("ORDER_STATE_CONFLICT", "ORDER_HOLDS", "hold_id"),
    errors.OrderHeldError: _conflict("ORDER_HELD", "ORDER_HOLDS"),
    errors.OrderClosedError: _conflict("ORDER_CLOSED", "ORDER_STATE"),
    errors.NotDueError: _conflict("ORDER_NOT_DUE", "ORDER_STATE"),
    errors.ReturnStateConflictError: _conflict("RETURN_STATE_CONFLICT", "RETURN_STATE", "return_id", "return_state"),
    errors.OvercaptureError: _conflict("OVERCAPTURE", "MONEY", "asked", "left"),
    errors.OverrefundError: _conflict("OVERREFUND", "MONEY", "asked", "left"),
    errors.PreTradeCheckError: _conflict("PRE_TRADE_CHECK", "PRE_TRADE_CHECK", "checks"),
    errors.TooLateToAmendError: _quantity_conflict("TOO_LATE_TO_AMEND"),
    errors.TooLateToBustError: _quantity_conflict("TOO_LATE_TO_BUST"),
    errors.OverreturnError: _quantity_conflict("OVERRETURN"),
    errors.OverreceiptError: _quantity_conflict("OVERRECEIPT"),
    errors.TooLateToCancelError: _quantity_conflict("TOO_LATE_TO_CANCEL"),
    errors.OverfillError: _quantity_conflict("OVERFILL"),
    errors.OvershipError: _quantity_conflict("OVERSHIP"),
    errors.OverdeliveryError: _quantity_conflict("OVERDELIVERY"),
    errors.RecordNotFoundError: lambda error: Refusal(
        code=StatusCode.NOT_FOUND,
        reason=f"{error.kind.upper()}_NOT_FOUND",
        message=str(error),
        metadata={f"{error.kind}_id": error.record_id},
    ),
    errors.EtagMismatchError: lambda error: Refusal(
        code=StatusCode.ABORTED,
        reason="ETAG_MISMATCH",
        message=str(error),
        metadata={"actual_version": str(error.order.version), "actual_etag": error.order.etag},
    ),
    errors.UnknownLineError: lambda error: _invalid(error, f"{error.path}.line_id"),
    errors.MoneyError: lambda error: _invalid(error, error.path),
    errors.TotalMismatchError: lambda error: _invalid(error, "expected_total"),
    errors.RecordConflictError: lambda error: Refusal(
        code=StatusCode.ALREADY_EXISTS,
        reason=f"{error.kind.upper()}_ID_CONFLICT",
        message=str(error),
        metadata={f"{error.kind}_id": error.record_id},
    ),
    errors.RequestIdReusedError: _request_id_reused,
    errors.RequestFencedError: lambda error: Refusal(
        code=StatusCode.FAILED_PRECONDITION,
        reason="REQUEST_FENCED",
        message=str(error),
        metadata={"subject": f"commands/{error.request_id}"},
        precondition="REQUEST",
    ),
    errors.SubscriptionNotFoundError: lambda error: Refusal(
        code=StatusCode.NOT_FOUND,
        reason="SUBSCRIPTION_NOT_FOUND",
        message=str(error),
        metadata={"subscription": error.name},
    ),
    errors.NoBusError: lambda error: _no_bus("NO_BUS", error),
    BusRefusedError: lambda error: _no_bus("BUS_REFUSED", error),
    BusUnavailableError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE,
        reason="BUS_UNAVAILABLE",
        message=str(error),
        retry_after_seconds=_BUS_RETRY_SECONDS,
    ),
    errors.LogHoleError: lambda error: Refusal(
        code=StatusCode.DATA_LOSS,
        reason="LOG_HOLE",
        message=str(error),
        metadata={"shard": str(error.shard), "seq": str(error.seq)},
    ),
    errors.OverloadedError: lambda error: Refusal(
        code=StatusCode.RESOURCE_EXHAUSTED,
        reason="OVERLOADED",
        message=str(error),
        retry_after_seconds=_RETRY_SECONDS,
    ),
    errors.StoreUnavailableError: COMMON_ERRORS[DatabaseUnavailableError],
}
