"""The one table of the Order Service's refusals: complete, and as the contract says."""

import inspect

import pytest
from grpc import StatusCode
from stateset_client.errors import BY_REASON

from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.grpc.status import COMMON_ERRORS, Violation, refusal_of
from order.adapters.grpc_status import ERRORS
from order.adapters.wire import WireCodec
from order.application.relay_ports import BusRefusedError, BusUnavailableError
from order.domain import errors
from order.domain.legality import allowed_actions
from tests.harness.order_commands import ACCEPT, fill
from tests.harness.orders import carry_out, place

ORDER = carry_out(place(3), ACCEPT, fill(1))
CONFLICT = StatusCode.FAILED_PRECONDITION
QUANTITY = (ORDER, "1", 3, 2)
CONTRACT: list[tuple[Exception, StatusCode, str]] = [
    (errors.OrderNotFoundError("o-1"), StatusCode.NOT_FOUND, "ORDER_NOT_FOUND"),
    (errors.OrderStateConflictError(ORDER, "AcceptOrder", []), CONFLICT, "ORDER_STATE_CONFLICT"),
    (errors.HoldReleasedError(ORDER, "h-1"), CONFLICT, "ORDER_STATE_CONFLICT"),
    (errors.OrderHeldError(ORDER, "RecordFill", []), CONFLICT, "ORDER_HELD"),
    (errors.OrderClosedError(ORDER, "RecordFill", []), CONFLICT, "ORDER_CLOSED"),
    (errors.TooLateToCancelError(*QUANTITY), CONFLICT, "TOO_LATE_TO_CANCEL"),
    (errors.PreTradeCheckError(ORDER, ["ORDER_TOTAL"]), CONFLICT, "PRE_TRADE_CHECK"),
    (errors.TooLateToAmendError(*QUANTITY), CONFLICT, "TOO_LATE_TO_AMEND"),
    (errors.TooLateToBustError(*QUANTITY), CONFLICT, "TOO_LATE_TO_BUST"),
    (errors.OverfillError(*QUANTITY), CONFLICT, "OVERFILL"),
    (errors.OvershipError(*QUANTITY), CONFLICT, "OVERSHIP"),
    (errors.OverdeliveryError(*QUANTITY), CONFLICT, "OVERDELIVERY"),
    (errors.OverreturnError(*QUANTITY), CONFLICT, "OVERRETURN"),
    (errors.OverreceiptError(*QUANTITY), CONFLICT, "OVERRECEIPT"),
    (errors.OvercaptureError(ORDER, 2, 1), CONFLICT, "OVERCAPTURE"),
    (errors.OverrefundError(ORDER, 2, 1), CONFLICT, "OVERREFUND"),
    (errors.ReturnStateConflictError(ORDER, "r-1", "REQUESTED"), CONFLICT, "RETURN_STATE_CONFLICT"),
    (errors.RecordNotFoundError("o-1", "return", "r-1"), StatusCode.NOT_FOUND, "RETURN_NOT_FOUND"),
    (errors.RecordConflictError("fill", "f-1"), StatusCode.ALREADY_EXISTS, "FILL_ID_CONFLICT"),
    (errors.EtagMismatchError(ORDER, '"9"'), StatusCode.ABORTED, "ETAG_MISMATCH"),
    (errors.UnknownLineError("9", "lines[0]"), StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (errors.MoneyError("payment.amount", "too much"), StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (errors.TotalMismatchError(1, 2), StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    (errors.RequestIdReusedError("request-a", ["lines"]), StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    (errors.OverloadedError("busy"), StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.StoreUnavailableError("away"), StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (errors.LogHoleError(0, 2), StatusCode.DATA_LOSS, "LOG_HOLE"),
    (errors.RequestFencedError("request-a"), CONFLICT, "REQUEST_FENCED"),
    (errors.NotDueError(ORDER), CONFLICT, "ORDER_NOT_DUE"),
    (errors.NoBusError(), CONFLICT, "NO_BUS"),
    (BusRefusedError("no topic"), CONFLICT, "BUS_REFUSED"),
    (BusUnavailableError("away"), StatusCode.UNAVAILABLE, "BUS_UNAVAILABLE"),
    (errors.SubscriptionNotFoundError("risk"), StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"),
]
STORED = {StatusCode.FAILED_PRECONDITION, StatusCode.ALREADY_EXISTS, StatusCode.NOT_FOUND}
WAITS = {StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE}


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    kinds |= {BusRefusedError, BusUnavailableError}
    parents = {parent for kind in kinds for parent in kind.__mro__[1:]}
    assert kinds - parents <= ERRORS.keys() <= kinds  # a parent has a row only if it is raised itself


@pytest.mark.parametrize(("error", "code", "reason"), CONTRACT)
def test_a_refusal_has_the_code_and_the_reason_of_the_contract(error: Exception, code: StatusCode, reason: str) -> None:
    refusal = refusal_of(error, ERRORS)
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (code, reason)
    assert (refusal.retry_after_seconds is not None) == (code in WAITS)
    assert bool(refusal.precondition) == (code is StatusCode.FAILED_PRECONDITION)


def test_what_does_not_fit_the_order_is_told_with_its_field() -> None:
    refusal = refusal_of(errors.MoneyError("payment.amount", "must be in the order's currency"), ERRORS)
    assert refusal is not None
    assert refusal.message == "payment.amount: must be in the order's currency"
    assert refusal.violations == [Violation("payment.amount", "must be in the order's currency")]


def test_a_database_that_cannot_be_used_is_told_to_commands_and_reads_alike_and_no_more_of_it() -> None:
    refusal = refusal_of(errors.StoreUnavailableError("[SQL: INSERT] [parameters: ada]"), ERRORS)
    assert refusal == refusal_of(DatabaseUnavailableError("[SQL: SELECT]"), COMMON_ERRORS)


@pytest.mark.parametrize(
    ("error", "code"), [(error, code) for error, code, _ in CONTRACT if isinstance(error, errors.OrderError)]
)
def test_only_what_would_be_refused_again_is_stored(error: errors.OrderError, code: StatusCode) -> None:
    assert (WireCodec("log", 1).encode_refusal(error) is not None) == (code in STORED)


@pytest.mark.parametrize(
    "error", [error for error, code, _ in CONTRACT if code is CONFLICT and hasattr(error, "order")]
)
def test_a_conflict_says_where_the_order_stands_and_what_is_allowed(error: Exception) -> None:
    refusal = refusal_of(error, ERRORS)
    assert refusal is not None
    said = {name: refusal.metadata[name] for name in ("subject", "state", "version", "allowed_actions")}
    assert said == {
        "subject": "orders/o-1",
        "state": "PARTIALLY_FILLED",
        "version": "3",
        "allowed_actions": ",".join(allowed_actions(ORDER)),
    }


def test_the_contract_above_has_every_error_and_the_sdk_knows_each_reason_that_a_caller_can_meet() -> None:
    assert {type(error) for error, _, _ in CONTRACT} == ERRORS.keys()
    reasons = {reason for _, _, reason in CONTRACT}
    assert reasons - BY_REASON.keys() == {
        "ORDER_NOT_DUE",  # the timer's own
        "STORE_UNAVAILABLE",  # told by its code
        "BUS_UNAVAILABLE",  # an administrator's
        "LOG_HOLE",  # an administrator's
    }
