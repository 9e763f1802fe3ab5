"""Whole lives of orders, row by row.

Source: the order state change matrices that the FIX protocol publishes (4.2 appendix D, 5.0 SP2 B.1.b … J.1.b). Their
New is ACCEPTED here, and their Canceled is PARTIALLY_CANCELED where some units were filled; a status of pending cancel
is the flag beside the state.
"""

import pytest

from order.domain.commands import Command, PaymentKind
from order.domain.errors import OrderError, OrderStateConflictError, TooLateToCancelError
from order.domain.order import OrderState
from tests.harness.order_commands import (
    ACCEPT,
    CANCEL,
    CONFIRM_CANCEL,
    MARKET,
    REJECT_CANCEL,
    amend,
    approve_return,
    bust,
    confirm_cancel,
    deliver,
    fill,
    pay,
    receive_return,
    refund,
    request_return,
    ship,
)
from tests.harness.order_story import LATE_FILLS, Story
from tests.harness.orders import DOLLAR, place

Row = tuple[Command, int, int, OrderState, bool]
"""A command, then cumulated quantity, leaves, state, and whether a cancel is pending."""

PLACED: Row = (place(10_000, market_id=MARKET), 0, 10_000, OrderState.PENDING, False)
NEW: Row = (ACCEPT, 0, 10_000, OrderState.ACCEPTED, False)
FILLED_2000: Row = (fill(2000, record_id="A"), 2000, 8000, OrderState.PARTIALLY_FILLED, False)
FILLED_5000: Row = (fill(3000, record_id="B"), 5000, 5000, OrderState.PARTIALLY_FILLED, False)
CANCEL_PENDING: Row = (CANCEL, 5000, 5000, OrderState.PARTIALLY_FILLED, True)

# A fill passes the request, another one comes while it is pending; then it is granted. D4 of 4.2 has the same rows.
B_1_B = [
    PLACED,
    NEW,
    FILLED_2000,
    FILLED_5000,
    CANCEL_PENDING,
    (fill(1000, record_id="C"), 6000, 4000, OrderState.PARTIALLY_FILLED, True),
    (CONFIRM_CANCEL, 6000, 0, OrderState.PARTIALLY_CANCELED, False),
]
# The same, but the market refuses.
B_1_B_REFUSED = [*B_1_B[:-1], (REJECT_CANCEL, 6000, 4000, OrderState.PARTIALLY_FILLED, False)]
# The order is filled before the request can be granted.
B_1_C = [
    PLACED,
    NEW,
    FILLED_2000,
    FILLED_5000,
    CANCEL_PENDING,
    (fill(5000, record_id="C"), 10_000, 0, OrderState.FILLED, True),
    (REJECT_CANCEL, 10_000, 0, OrderState.FILLED, False),
]
# A canceled order, whose fill is busted, and which is filled again.
J_1_B = [
    PLACED,
    NEW,
    (fill(5000, record_id="B"), 5000, 5000, OrderState.PARTIALLY_FILLED, False),
    CANCEL_PENDING,
    (CONFIRM_CANCEL, 5000, 0, OrderState.PARTIALLY_CANCELED, False),
    (bust("B"), 0, 0, OrderState.CANCELED, False),
    (fill(4000, nanos=51 * DOLLAR, record_id="F"), 4000, 0, OrderState.PARTIALLY_CANCELED, False),
]
# A wish to amend the price crosses the fill of all that was open.
D9 = [
    PLACED,
    NEW,
    (fill(1000, record_id="A"), 1000, 9000, OrderState.PARTIALLY_FILLED, False),
    (fill(9000, record_id="B"), 10_000, 0, OrderState.FILLED, False),
]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(B_1_B, id="B.1.b"),
        pytest.param(B_1_B_REFUSED, id="B.1.b refused"),
        pytest.param(B_1_C, id="B.1.c"),
        pytest.param(J_1_B, id="J.1.b"),
        pytest.param(D9, id="D9"),
    ],
)
def test_an_order_goes_as_the_matrix_has_it(rows: list[Row]) -> None:
    story = Story(LATE_FILLS)
    for command, cumulated, leaves, state, pending in rows:
        order = story.carry_out(command)
        assert (order.lines[0].filled, order.leaves, order.state, order.cancel_requested) == (
            cumulated,
            leaves,
            state,
            pending,
        )


@pytest.mark.parametrize(
    ("rows", "command", "error"),
    [
        pytest.param(D9, amend(10_000, nanos=2 * DOLLAR), OrderStateConflictError, id="D9: too late to amend"),
        pytest.param(B_1_C[:-1], CONFIRM_CANCEL, TooLateToCancelError, id="B.1.c: too late to cancel"),
    ],
)
def test_what_the_matrix_refuses(rows: list[Row], command: Command, error: type[OrderError]) -> None:
    story = Story()
    story.carry_out(*(row[0] for row in rows))
    with pytest.raises(error):
        story.carry_out(command)


def test_a_life_from_the_market_to_the_refund() -> None:
    story = Story()
    order = story.carry_out(
        place(10, price_nanos=5 * DOLLAR, market_id=MARKET),
        ACCEPT,
        fill(4, nanos=5 * DOLLAR, record_id="A"),
        CANCEL,
        fill(1, nanos=5 * DOLLAR + DOLLAR // 10, record_id="B"),
        confirm_cancel(5),
    )
    assert (order.state, order.lines[0].filled_amount) == (OrderState.PARTIALLY_CANCELED, 2510)
    order = story.carry_out(
        ship(5), deliver(5), request_return(2), approve_return(), receive_return(2), pay(PaymentKind.SALE, 2510)
    )
    assert order.state is OrderState.PARTIALLY_RETURNED
    order = story.carry_out(refund(1004))
    assert (order.authorized, order.captured, order.refunded) == (2510, 2510, 1004)
    assert order.version == 13
