"""An order's beginning, and what it is amended to while some of it is open."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from infra.kernel.money import AMOUNT_MAX, amount
from order.domain.changes import Change, LineTerms, OrderAccepted, OrderAmended, OrderPlaced, OrderRejected, OrderTerms
from order.domain.commands import (
    AcceptOrder,
    AmendOrder,
    LineAmendment,
    LineQuantity,
    NewLine,
    PlaceOrder,
    RejectOrder,
)
from order.domain.errors import MoneyError, PreTradeCheckError, TooLateToAmendError, TotalMismatchError
from order.domain.lines import Effect, Given, check_quantities
from order.domain.order import CloseReason, Line, Order
from order.domain.policy import Acceptance, Policy

PRE_TRADE_CHECK: Final = "PRE_TRADE_CHECK"


def place(command: PlaceOrder, policy: Policy) -> list[Change]:
    """The placing, and what the policy says to it at once."""
    total = command.total
    if command.expected_total is not None and total != command.expected_total:
        raise TotalMismatchError(command.expected_total, total)
    _check_total(total)
    return [OrderPlaced(command=command), *_ACCEPTANCE[policy.acceptance](command, policy)]


def _check_total(total: int) -> None:
    if total > AMOUNT_MAX:
        raise MoneyError("lines", f"must not come to more than {AMOUNT_MAX} minor units together")


def _checked(command: PlaceOrder, policy: Policy) -> Change:
    failed = tuple(policy.pre_trade.failed(command))
    return OrderRejected(reason_code=PRE_TRADE_CHECK, checks=failed) if failed else OrderAccepted()


_ACCEPTANCE: Final[Mapping[Acceptance, Callable[[PlaceOrder, Policy], list[Change]]]] = {
    Acceptance.MANUAL: lambda _command, _policy: [],
    Acceptance.AUTOMATIC: lambda _command, _policy: [OrderAccepted()],
    Acceptance.RISK: lambda command, policy: [_checked(command, policy)],
}


def placed(change: OrderPlaced, occur_time_us: int, record_time_us: int) -> Order:
    """The order at its first version."""
    command = change.command
    return Order(
        order_id=command.order_id,
        customer_id=command.customer_id,
        store_id=command.store_id,
        currency_code=command.currency_code,
        lines=tuple(
            [Line(*line, amount(line.quantity, line.price_nanos, command.currency_code)) for line in command.lines]
        ),
        place_time_us=occur_time_us,
        update_time_us=record_time_us,
        version=1,
        expire_time_us=command.expire_time_us,
        market_id=command.market_id,
    )


def _accept(_order: Order, _command: AcceptOrder, _given: Given) -> list[Change]:
    return [OrderAccepted()]


def _reject(_order: Order, command: RejectOrder, _given: Given) -> list[Change]:
    return [OrderRejected(reason_code=command.reason_code)]


def _amend(order: Order, command: AmendOrder, given: Given) -> list[Change]:
    lines = check_quantities(order, _taken_off(order, command), lambda line: line.leaves, TooLateToAmendError)
    before = [lines[each.line_id] for each in command.lines]
    after = [
        _amended(order, line, each, f"lines[{index}].unit_price")
        for index, (line, each) in enumerate(zip(before, command.lines, strict=True))
    ]
    costs = {line.line_id: line.amount for line in order.lines}
    costs |= {each.line_id: amount(each.quantity, each.price_nanos, order.currency_code) for each in after}
    _check_total(sum(costs.values()))
    if given.policy.acceptance is Acceptance.RISK and any(map(_is_raised, before, after)):
        _check_limits(order, after, given.policy)
    expires = command.expire_time_us if "expire_time" in command.paths else order.expire_time_us
    return [
        OrderAmended(
            paths=command.paths,
            before=OrderTerms(lines=tuple(map(_terms, before)), expire_time_us=order.expire_time_us),
            after=OrderTerms(lines=tuple(after), expire_time_us=expires),
        )
    ]


def _is_raised(line: Line, terms: LineTerms) -> bool:
    return terms.quantity > line.quantity or terms.price_nanos > line.price_nanos


def _check_limits(order: Order, after: Sequence[LineTerms], policy: Policy) -> None:
    """What orders are judged by as they are placed, nobody gets around by amending them."""
    terms = {line.line_id: _terms(line) for line in order.lines} | {each.line_id: each for each in after}
    lines = ((line, terms[line.line_id]) for line in order.lines)
    failed = policy.pre_trade.failed(
        PlaceOrder(
            order_id=order.order_id,
            customer_id=order.customer_id,
            store_id=order.store_id,
            currency_code=order.currency_code,
            lines=tuple(
                NewLine(line.line_id, line.product_id, each.quantity, each.price_nanos) for line, each in lines
            ),
            expected_total=None,
            expire_time_us=order.expire_time_us,
            market_id=order.market_id,
        )
    )
    if failed:
        raise PreTradeCheckError(order, failed)


def _taken_off(order: Order, command: AmendOrder) -> list[LineQuantity]:
    """By amended line, the units that are no longer ordered; below 0 where there are more."""
    ordered = {line.line_id: line.quantity for line in order.lines}
    return [
        LineQuantity(
            line_id=each.line_id,
            quantity=0 if each.quantity is None else ordered.get(each.line_id, 0) - each.quantity,
        )
        for each in command.lines
    ]


def _terms(line: Line) -> LineTerms:
    return LineTerms(line_id=line.line_id, quantity=line.quantity, price_nanos=line.price_nanos)


def _amended(order: Order, line: Line, amendment: LineAmendment, path: str) -> LineTerms:
    price = amendment.price
    if price is not None and price.currency_code != order.currency_code:
        raise MoneyError(path, "must be in the order's currency")
    return LineTerms(
        line_id=line.line_id,
        quantity=line.quantity if amendment.quantity is None else amendment.quantity,
        price_nanos=line.price_nanos if price is None else price.nanos,
    )


def _accepted(_order: Order, _change: OrderAccepted) -> Effect:
    return Effect(accepted=True)


def _rejected(order: Order, _change: OrderRejected) -> Effect:
    lines = tuple(line._replace(canceled=line.canceled + line.leaves) for line in order.lines)
    return Effect(lines=lines, rejected=True, close_reason=CloseReason.REJECTED, cancel_requested=False)


def _with_terms(order: Order, change: OrderAmended) -> Effect:
    after = {terms.line_id: terms for terms in change.after.lines}
    lines = tuple(
        _line_with_terms(order, line, after[line.line_id]) if line.line_id in after else line for line in order.lines
    )
    given_anew = any(path.startswith("personal") for path in change.paths)
    return Effect(
        lines=lines,
        expire_time_us=change.after.expire_time_us,
        personal_erase_time_us=None if given_anew else order.personal_erase_time_us,
    )


def _line_with_terms(order: Order, line: Line, terms: LineTerms) -> Line:
    """Fills at a price that no longer holds keep their amounts; those at the new one begin to round together."""
    line = line._replace(quantity=terms.quantity, amount=amount(terms.quantity, terms.price_nanos, order.currency_code))
    if terms.price_nanos == line.price_nanos:
        return line
    return line._replace(
        price_nanos=terms.price_nanos,
        price_version=order.version + 1,
        filled_at_price=0,
        filled_at_price_amount=0,
    )


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    AcceptOrder: _accept,
    RejectOrder: _reject,
    AmendOrder: _amend,
}
EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    OrderAccepted: _accepted,
    OrderRejected: _rejected,
    OrderAmended: _with_terms,
}
