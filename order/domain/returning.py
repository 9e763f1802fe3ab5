"""Returns: asked for, granted or refused, and received in one or several parts."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from order.domain.changes import Change, ReturnApproved, ReturnReceived, ReturnRejected, ReturnRequested
from order.domain.commands import ApproveReturn, LineQuantity, ReceiveReturn, RejectReturn, RequestReturn, ReturnCommand
from order.domain.errors import OverreceiptError, OverreturnError, RecordNotFoundError, ReturnStateConflictError
from order.domain.lines import Effect, Given, check_quantities, moved
from order.domain.order import Order
from order.domain.records import Return, ReturnState, added, left


def _request(order: Order, command: RequestReturn, _given: Given) -> list[Change]:
    check_quantities(
        order,
        command.lines,
        lambda line: line.delivered - line.returned - line.return_open,
        OverreturnError,
        "order_return.lines",
    )
    requested = Return(record_id=command.record_id, lines=command.lines, reason_code=command.reason_code)
    return [ReturnRequested(history=requested)]


def _approve(order: Order, command: ApproveReturn, given: Given) -> list[Change]:
    found = _find(order, command, given, ReturnState.REQUESTED)
    return [ReturnApproved(history=replace(found, state=ReturnState.APPROVED))]


def _reject(order: Order, command: RejectReturn, given: Given) -> list[Change]:
    found = _find(order, command, given, ReturnState.REQUESTED)
    return [ReturnRejected(history=replace(found, state=ReturnState.REJECTED), reason_code=command.reason_code)]


def _receive(order: Order, command: ReceiveReturn, given: Given) -> list[Change]:
    found = _find(order, command, given, ReturnState.APPROVED)
    due = left(found.lines, found.received)
    lines = command.lines or tuple(LineQuantity(line_id=line, quantity=units) for line, units in due.items() if units)
    check_quantities(order, lines, lambda line: due.get(line.line_id, 0), OverreceiptError)
    received = added(found.received, lines)
    complete = not any(left(found.lines, received).values())
    state = ReturnState.RECEIVED if complete else ReturnState.APPROVED
    return [
        ReturnReceived(
            history=replace(found, state=state, received=received), lines=lines, disposition=command.disposition
        )
    ]


def _find(order: Order, command: ReturnCommand, given: Given, state: ReturnState) -> Return:
    record = given.records.get((order.order_id, Return.kind, command.return_id))
    if record is None or not isinstance(record.history, Return):
        raise RecordNotFoundError(order.order_id, Return.kind, command.return_id)
    if record.history.state is not state:
        raise ReturnStateConflictError(order, command.return_id, record.history.state)
    return record.history


def _requested(order: Order, change: ReturnRequested) -> Effect:
    return Effect(lines=moved(order, change.history.lines, to="return_open"))


def _approved(_order: Order, _change: ReturnApproved) -> Effect:
    return Effect()


def _rejected(order: Order, change: ReturnRejected) -> Effect:
    return Effect(lines=moved(order, change.history.lines, out_of="return_open"))


def _received(order: Order, change: ReturnReceived) -> Effect:
    return Effect(lines=moved(order, change.lines, to="returned", out_of="return_open"))


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    RequestReturn: _request,
    ApproveReturn: _approve,
    RejectReturn: _reject,
    ReceiveReturn: _receive,
}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    ReturnRequested: _requested,
    ReturnApproved: _approved,
    ReturnRejected: _rejected,
    ReturnReceived: _received,
}
