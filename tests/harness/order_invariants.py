"""What holds for every order, whatever was asked of it."""

from infra.kernel.money import amount
from order.domain.legality import allowed_actions
from order.domain.order import Order, OrderState
from order.domain.state import state_of

_ENDED = {OrderState.REJECTED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.RETURNED, OrderState.FILLED}
_ENDED |= {OrderState.PARTIALLY_CANCELED, OrderState.SHIPPED, OrderState.DELIVERED}


def check_invariants(order: Order) -> None:
    """Fails where an order of the model could not stand like this."""
    for line in order.lines:
        assert line.quantity > 0
        assert line.filled >= 0
        assert line.canceled >= 0
        assert line.filled + line.canceled <= line.quantity
        assert 0 <= line.delivered <= line.shipped <= line.filled
        assert line.return_open >= 0
        assert line.returned >= 0
        assert line.return_open + line.returned <= line.delivered
        assert 0 <= line.filled_at_price <= line.filled
        assert 0 <= line.filled_at_price_amount <= line.filled_amount
        assert line.amount == amount(line.quantity, line.price_nanos, order.currency_code)
    assert order.state is state_of(order)
    assert 0 <= order.refunded <= order.captured <= order.authorized
    closed = order.rejected or (order.leaves == 0 and any(line.canceled for line in order.lines))
    assert not closed or order.close_reason is not None
    assert order.close_reason is None or order.leaves == 0
    if order.state in _ENDED:
        assert order.leaves == 0
    if order.state is OrderState.FILLED:
        assert all(line.filled == line.quantity for line in order.lines)
    if not set(allowed_actions(order)) - {"RecordPayment"}:
        assert order.leaves == 0
