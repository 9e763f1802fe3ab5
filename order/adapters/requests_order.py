"""Requests about the order itself: its terms, its end, its holds, its money."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from stateset.order.v1 import order_pb2, order_service_pb2

from infra.kernel.money import is_currency
from order.adapters.checks import Checks
from order.domain.commands import (
    AcceptOrder,
    AmendOrder,
    CancelOrder,
    Command,
    ConfirmOrderCancel,
    EraseOrderPersonalData,
    HoldOrder,
    LineAmendment,
    NewLine,
    PaymentKind,
    PlaceOrder,
    RecordPayment,
    RecordRefund,
    RejectOrder,
    RejectOrderCancel,
    ReleaseOrderHold,
    UnitPrice,
)

ORDER_BYTES_MAX: Final = 262_144
_ORDER_GROWTH_BYTES: Final = 4_096  # its holds and its money
_LINE_GROWTH_BYTES: Final = 250  # what the counters of a line can come to take, beside what the request says of it
_TOO_LARGE: Final = f"the order could come to take more than {ORDER_BYTES_MAX} bytes"
_AMENDABLE: Final = ("lines", "expire_time", "personal")
_NOBODY: Final = "must have a field: EraseOrderPersonalData takes all of them away"
_PAYMENT_KINDS: Final = {order_pb2.PaymentKind.Value(f"PAYMENT_KIND_{kind}"): kind for kind in PaymentKind}


def _place(request: order_service_pb2.PlaceOrderRequest, order_id: str, checks: Checks) -> PlaceOrder:
    currency = request.currency_code
    known = is_currency(currency)
    checks.require(known, "currency_code", 'must be an ISO 4217 code, such as "USD"')
    checks.identifier("customer_id", request.customer_id)
    if request.store_id:
        checks.identifier("store_id", request.store_id)
    asked = checks.few("lines", request.lines)
    checks.require(
        request.ByteSize() + _ORDER_GROWTH_BYTES + _LINE_GROWTH_BYTES * len(asked) <= ORDER_BYTES_MAX,
        "lines",
        _TOO_LARGE,
    )
    lines = tuple([_new_line(line, currency, item) for line, item in checks.each("lines", asked)])
    checks.unique("lines", [line.line_id for line in lines])
    expected = request.expected_total if request.HasField("expected_total") else None
    if expected is not None:
        checks.require(
            expected.currency_code == currency, "expected_total.currency_code", "must be the order's currency"
        )
    return PlaceOrder(
        order_id=order_id,
        customer_id=request.customer_id,
        store_id=request.store_id,
        currency_code=currency,
        lines=lines,
        expected_total=None if expected is None else expected.minor_units,
        personal_paths=tuple(
            checks.personal_paths("personal", request.personal) if request.HasField("personal") else ()
        ),
        expire_time_us=checks.time("expire_time", request.expire_time) if request.HasField("expire_time") else None,
        market_id=checks.identifier("market_id", request.market_id) if request.market_id else "",
    )


def _new_line(line: order_service_pb2.NewOrderLine, currency: str, checks: Checks) -> NewLine:
    unit_price = line.unit_price
    line_id = checks.identifier("line_id", line.line_id)
    product_id = checks.identifier("product_id", line.product_id)
    quantity = checks.quantity("quantity", line.quantity)
    price_nanos = checks.price("unit_price", unit_price)
    checks.require(unit_price.currency_code == currency, "unit_price.currency_code", "must be the order's currency")
    checks.cost("unit_price", quantity, price_nanos, currency)
    return NewLine(line_id=line_id, product_id=product_id, quantity=quantity, price_nanos=price_nanos)


def _reject(request: order_service_pb2.RejectOrderRequest, order_id: str, checks: Checks) -> RejectOrder:
    return RejectOrder(order_id=order_id, reason_code=checks.identifier("reason_code", request.reason_code))


def _amend(request: order_service_pb2.AmendOrderRequest, order_id: str, checks: Checks) -> AmendOrder:
    paths = list(dict.fromkeys(request.update_mask.paths)) or [name for name in _AMENDABLE if _is_set(request, name)]
    checks.require(bool(paths), "update_mask", "must name something to amend")
    for path in paths:
        checks.require(path in _AMENDABLE, "update_mask", f"may name {', '.join(_AMENDABLE)}")
        checks.require(path == "expire_time" or _is_set(request, path), path, "is in the mask and must be set")
    for name in _AMENDABLE:
        checks.require(name in paths or not _is_set(request, name), name, "is set and must be in the mask")
    asked = checks.few("lines", request.lines, least=0)
    checks.unique("lines", [line.line_id for line in asked])
    named = [path for path in ("lines", "expire_time") if path in paths]
    personal = checks.personal_paths("personal", request.personal)
    checks.require(bool(personal) or not _is_set(request, "personal"), "personal", _NOBODY)
    return AmendOrder(
        order_id=order_id,
        paths=(*named, *personal),
        lines=tuple(_line_amendment(line, item) for line, item in checks.each("lines", asked)),
        expire_time_us=checks.time("expire_time", request.expire_time) if request.HasField("expire_time") else None,
    )


def _is_set(request: order_service_pb2.AmendOrderRequest, name: str) -> bool:
    return any(descriptor.name == name for descriptor, _ in request.ListFields())


def _line_amendment(line: order_service_pb2.LineAmendment, checks: Checks) -> LineAmendment:
    checks.identifier("line_id", line.line_id)
    price = None
    if line.HasField("unit_price"):
        nanos = checks.price("unit_price", line.unit_price)
        price = UnitPrice(currency_code=line.unit_price.currency_code, nanos=nanos)
    quantity = checks.quantity("quantity", line.quantity) if line.HasField("quantity") else None
    checks.require(price is not None or quantity is not None, "", "must amend quantity or unit_price")
    return LineAmendment(line_id=line.line_id, quantity=quantity, price=price)


def _cancel(request: order_service_pb2.CancelOrderRequest, order_id: str, checks: Checks) -> CancelOrder:
    return CancelOrder(order_id=order_id, lines=checks.quantities("lines", request.lines))


def _confirm(request: order_service_pb2.ConfirmOrderCancelRequest, order_id: str, checks: Checks) -> ConfirmOrderCancel:
    return ConfirmOrderCancel(
        order_id=order_id,
        market_id=checks.identifier("market_id", request.market_id),
        lines=checks.quantities("lines", request.lines),
    )


def _reject_cancel(
    request: order_service_pb2.RejectOrderCancelRequest, order_id: str, checks: Checks
) -> RejectOrderCancel:
    return RejectOrderCancel(
        order_id=order_id,
        market_id=checks.identifier("market_id", request.market_id),
        reason_code=checks.identifier("reason_code", request.reason_code),
    )


def _hold(request: order_service_pb2.HoldOrderRequest, order_id: str, checks: Checks) -> HoldOrder:
    return HoldOrder(
        order_id=order_id,
        record_id=checks.identifier("hold.hold_id", request.hold.hold_id),
        reason_code=checks.identifier("hold.reason_code", request.hold.reason_code),
        blocks_fills=request.hold.blocks_fills,
    )


def _release(request: order_service_pb2.ReleaseOrderHoldRequest, order_id: str, checks: Checks) -> ReleaseOrderHold:
    return ReleaseOrderHold(order_id=order_id, record_id=checks.identifier("hold_id", request.hold_id))


def _pay(request: order_service_pb2.RecordPaymentRequest, order_id: str, checks: Checks) -> RecordPayment:
    payment = request.payment
    checks.require(payment.kind in _PAYMENT_KINDS, "payment.kind", "must be AUTHORIZE, CAPTURE or SALE")
    return RecordPayment(
        order_id=order_id,
        record_id=checks.identifier("payment.payment_id", payment.payment_id),
        payment=_PAYMENT_KINDS.get(payment.kind, PaymentKind.SALE),
        amount=checks.money("payment.amount", payment.amount),
    )


def _refund(request: order_service_pb2.RecordRefundRequest, order_id: str, checks: Checks) -> RecordRefund:
    return RecordRefund(
        order_id=order_id,
        record_id=checks.identifier("refund.refund_id", request.refund.refund_id),
        amount=checks.money("refund.amount", request.refund.amount),
    )


ORDER_COMMANDS: Final[Mapping[type[Any], Callable[[Any, str, Checks], Command]]] = {
    order_service_pb2.PlaceOrderRequest: _place,
    order_service_pb2.AcceptOrderRequest: lambda _request, order_id, _checks: AcceptOrder(order_id=order_id),
    order_service_pb2.RejectOrderRequest: _reject,
    order_service_pb2.AmendOrderRequest: _amend,
    order_service_pb2.CancelOrderRequest: _cancel,
    order_service_pb2.ConfirmOrderCancelRequest: _confirm,
    order_service_pb2.RejectOrderCancelRequest: _reject_cancel,
    order_service_pb2.HoldOrderRequest: _hold,
    order_service_pb2.ReleaseOrderHoldRequest: _release,
    order_service_pb2.RecordPaymentRequest: _pay,
    order_service_pb2.RecordRefundRequest: _refund,
    order_service_pb2.EraseOrderPersonalDataRequest: lambda _request, order_id, _checks: EraseOrderPersonalData(
        order_id=order_id
    ),
}
