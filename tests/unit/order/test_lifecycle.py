"""The order model: guards, effects, the state function, and what holds whatever happens."""

import pytest

from infra.kernel.money import AMOUNT_MAX
from order.domain.changes import (
    OrderAccepted,
    OrderAmended,
    OrderFillBusted,
    OrderFillRecorded,
    OrderPlaced,
    OrderRejected,
)
from order.domain.commands import (
    AmendOrder,
    Command,
    ConfirmOrderCancel,
    FillLine,
    LineAmendment,
    PaymentKind,
    RecordFill,
    UnitPrice,
)
from order.domain.errors import (
    HoldReleasedError,
    MoneyError,
    NotDueError,
    OrderClosedError,
    OrderError,
    OrderHeldError,
    OrderNotFoundError,
    OrderStateConflictError,
    OvercaptureError,
    OverdeliveryError,
    OverfillError,
    OverreceiptError,
    OverrefundError,
    OverreturnError,
    OvershipError,
    PreTradeCheckError,
    RecordConflictError,
    RecordNotFoundError,
    ReturnStateConflictError,
    TooLateToAmendError,
    TooLateToBustError,
    TooLateToCancelError,
    TotalMismatchError,
    UnknownLineError,
)
from order.domain.legality import allowed_actions
from order.domain.lifecycle import decide
from order.domain.order import HOLDS_MAX, CloseReason, OrderState
from order.domain.paying import PAID_MAX
from order.domain.policy import Acceptance, OrderLimits, Policy
from tests.harness.order_commands import (
    ACCEPT,
    CANCEL,
    CONFIRM_CANCEL,
    ERASE,
    MARKET,
    REJECT,
    REJECT_CANCEL,
    amend,
    approve_return,
    bust,
    cancel,
    confirm_cancel,
    deliver,
    expire,
    fill,
    hold,
    pay,
    receive_return,
    refund,
    reject_return,
    release,
    request_return,
    ship,
)
from tests.harness.order_story import LATE_FILLS, Story
from tests.harness.orders import DOLLAR, carry_out, place

DELIVERED: list[Command] = [ACCEPT, fill(3), ship(3), deliver(3)]
RETURNING: list[Command] = [*DELIVERED, request_return(2)]
MARKET_ORDER = place(3, market_id=MARKET)
LARGE = 10_000 * DOLLAR
HALF = 500_000_000  # units at that price come to half of AMOUNT_MAX


@pytest.mark.parametrize(
    ("commands", "state"),
    [
        ([], OrderState.PENDING),
        ([REJECT], OrderState.REJECTED),
        ([cancel(1)], OrderState.PENDING),
        ([CANCEL], OrderState.CANCELED),
        ([ACCEPT], OrderState.ACCEPTED),
        ([ACCEPT, cancel(1)], OrderState.ACCEPTED),
        ([ACCEPT, CANCEL], OrderState.CANCELED),
        ([ACCEPT, fill(1)], OrderState.PARTIALLY_FILLED),
        ([ACCEPT, fill(1), CANCEL], OrderState.PARTIALLY_CANCELED),
        ([ACCEPT, cancel(1), fill(2)], OrderState.PARTIALLY_CANCELED),
        ([ACCEPT, fill(1), ship(1)], OrderState.PARTIALLY_SHIPPED),
        ([ACCEPT, fill(1), ship(1), CANCEL], OrderState.SHIPPED),
        ([ACCEPT, fill(1), ship(1), fill(2, record_id="f-2")], OrderState.PARTIALLY_SHIPPED),
        ([ACCEPT, fill(3)], OrderState.FILLED),
        ([ACCEPT, fill(3), ship(3)], OrderState.SHIPPED),
        ([ACCEPT, fill(3), ship(3), deliver(1)], OrderState.PARTIALLY_DELIVERED),
        ([ACCEPT, fill(1), ship(1), deliver(1)], OrderState.PARTIALLY_DELIVERED),
        ([ACCEPT, fill(1), ship(1), deliver(1), CANCEL], OrderState.DELIVERED),
        (DELIVERED, OrderState.DELIVERED),
        ([ACCEPT, fill(1), amend(1)], OrderState.FILLED),
        ([ACCEPT, cancel(1), amend(1)], OrderState.CANCELED),
        ([ACCEPT, fill(3), bust()], OrderState.ACCEPTED),
        ([ACCEPT, fill(1), CANCEL, bust()], OrderState.CANCELED),
        ([ACCEPT, hold(), fill(1)], OrderState.PARTIALLY_FILLED),
        (RETURNING, OrderState.DELIVERED),
        ([*RETURNING, approve_return(), receive_return(1)], OrderState.PARTIALLY_RETURNED),
        ([*DELIVERED, request_return(3), approve_return(), receive_return()], OrderState.RETURNED),
    ],
)
def test_the_state_follows_from_the_counters(commands: list[Command], state: OrderState) -> None:
    assert carry_out(place(3), *commands).state is state


@pytest.mark.parametrize(
    ("commands", "refused", "error"),
    [
        ([ACCEPT], ACCEPT, OrderStateConflictError),
        ([ACCEPT], REJECT, OrderStateConflictError),
        ([REJECT], ACCEPT, OrderStateConflictError),
        ([REJECT], CANCEL, OrderStateConflictError),
        ([CANCEL], CANCEL, OrderStateConflictError),
        ([], fill(1), OrderStateConflictError),
        ([CANCEL], fill(1), OrderStateConflictError),
        ([ACCEPT, CANCEL], fill(1), OrderClosedError),
        ([ACCEPT, hold(blocks_fills=True)], fill(1), OrderHeldError),
        ([ACCEPT, fill(1), hold()], ship(1), OrderHeldError),
        ([ACCEPT], fill(4), OverfillError),
        ([ACCEPT, fill(3)], fill(1, record_id="f-2"), OverfillError),
        ([ACCEPT, fill(2)], cancel(2), TooLateToCancelError),
        ([ACCEPT, fill(3)], CANCEL, TooLateToCancelError),
        ([ACCEPT, fill(3), ship(3)], CANCEL, TooLateToCancelError),
        ([ACCEPT], ship(1), OrderStateConflictError),
        ([ACCEPT, fill(1)], ship(2), OvershipError),
        ([ACCEPT, fill(1)], deliver(1), OrderStateConflictError),
        ([ACCEPT, fill(2), ship(1)], deliver(2), OverdeliveryError),
        ([ACCEPT, fill(2), ship(1)], deliver(1, shipment_id="s-9"), RecordNotFoundError),
        (
            [ACCEPT, fill(3), ship(1), ship(2, record_id="s-2"), deliver(1)],
            deliver(1, record_id="d-2"),
            OverdeliveryError,
        ),
        ([ACCEPT], fill(1, 1), UnknownLineError),
        ([ACCEPT], cancel(0, 1), UnknownLineError),
        ([ACCEPT], amend(0, 1), UnknownLineError),
        ([ACCEPT, fill(2)], amend(1), TooLateToAmendError),
        ([ACCEPT, fill(3)], amend(4), OrderStateConflictError),
        ([ACCEPT], CONFIRM_CANCEL, OrderStateConflictError),
        ([ACCEPT], expire(9), NotDueError),
        ([ACCEPT], bust(), OrderStateConflictError),
        ([ACCEPT, fill(1)], bust("f-9"), RecordNotFoundError),
        ([ACCEPT, fill(3), ship(1)], bust(), TooLateToBustError),
        ([ACCEPT, fill(1)], fill(2), RecordConflictError),
        ([hold()], release("h-9"), RecordNotFoundError),
        ([hold(), release()], hold(), HoldReleasedError),
        ([hold(), release()], hold(blocks_fills=True), RecordConflictError),
        ([hold(), release(), CANCEL], hold(), HoldReleasedError),
        ([CANCEL], hold(), OrderStateConflictError),
        ([hold(f"h-{number}") for number in range(HOLDS_MAX)], hold("h-99"), OrderStateConflictError),
        ([*DELIVERED, request_return(2)], request_return(2, record_id="r-2"), OverreturnError),
        (RETURNING, receive_return(1), ReturnStateConflictError),
        (RETURNING, approve_return("r-9"), RecordNotFoundError),
        ([*RETURNING, approve_return()], reject_return(), ReturnStateConflictError),
        ([*RETURNING, approve_return()], receive_return(3), OverreceiptError),
        ([], pay(PaymentKind.CAPTURE, 1), OvercaptureError),
        ([], pay(PaymentKind.SALE, 1, currency_code="EUR"), MoneyError),
        ([pay(PaymentKind.AUTHORIZE, 300)], refund(1), OrderStateConflictError),
        ([pay(PaymentKind.SALE, 300)], refund(301), OverrefundError),
    ],
)
def test_what_the_guards_refuse(commands: list[Command], refused: Command, error: type[OrderError]) -> None:
    story = Story()
    before = story.carry_out(place(3), *commands)
    with pytest.raises(error) as caught:
        story.carry_out(refused)
    assert type(caught.value) is error
    assert story.order is before


def test_one_hold_too_many_says_how_many_there_may_be() -> None:
    with pytest.raises(OrderStateConflictError, match="under 16 of at most 16 holds"):
        carry_out(place(3), ACCEPT, *(hold(f"h-{number}") for number in range(HOLDS_MAX + 1)))


def test_an_unexpected_total_is_refused() -> None:
    with pytest.raises(TotalMismatchError):
        decide(None, place(3, expected_total=299), {})


def test_a_fill_in_another_currency_is_refused() -> None:
    euros = UnitPrice(currency_code="EUR", nanos=DOLLAR)
    command = RecordFill(order_id="o-1", record_id="f-1", lines=(FillLine(line_id="1", quantity=1, price=euros),))
    with pytest.raises(MoneyError):
        carry_out(place(3), ACCEPT, command)


def test_an_orders_total_has_a_limit() -> None:
    with pytest.raises(MoneyError):
        carry_out(place(HALF, HALF + 1, price_nanos=LARGE))
    assert sum(line.amount for line in carry_out(place(HALF, HALF, price_nanos=LARGE)).lines) == AMOUNT_MAX


def test_no_amendment_takes_the_total_above_its_limit() -> None:
    with pytest.raises(MoneyError):
        carry_out(place(HALF, 1, price_nanos=LARGE), amend(0, HALF + 1))
    assert carry_out(place(HALF, 1, price_nanos=LARGE), amend(0, HALF)).lines[1].quantity == HALF


def test_no_fills_take_the_order_above_the_limit_of_its_total() -> None:
    story = Story()
    story.carry_out(place(HALF, HALF), ACCEPT, fill(HALF, HALF - 1, nanos=LARGE))
    with pytest.raises(MoneyError):
        story.carry_out(fill(0, 1, nanos=LARGE + DOLLAR, record_id="f-2"))
    order = story.carry_out(fill(0, 1, nanos=LARGE, record_id="f-2"))
    assert sum(line.filled_amount for line in order.lines) == AMOUNT_MAX


def test_all_that_may_be_authorized_may_be_captured() -> None:
    story = Story()
    story.carry_out(place(3), pay(PaymentKind.AUTHORIZE, PAID_MAX))
    with pytest.raises(MoneyError):
        story.carry_out(pay(PaymentKind.AUTHORIZE, 1, record_id="p-2"))
    assert story.carry_out(pay(PaymentKind.CAPTURE, PAID_MAX, record_id="p-2")).captured == PAID_MAX


def test_a_rejected_order_is_closed_to_the_last_unit() -> None:
    order = carry_out(place(3, 2), REJECT)
    assert [line.canceled for line in order.lines] == [3, 2]
    assert (order.leaves, order.close_reason) == (0, CloseReason.REJECTED)


def test_fills_at_the_lines_own_price_add_up_to_its_amount() -> None:
    third = 333_333_333
    order = carry_out(place(3, price_nanos=third), ACCEPT, *(fill(1, record_id=f"f-{n}") for n in range(3)))
    assert order.lines[0].amount == 100
    assert order.lines[0].filled_amount == 100


def test_fills_at_other_prices_round_by_themselves() -> None:
    order = carry_out(place(3), ACCEPT, fill(1, nanos=5_000_000), fill(2, record_id="f-2"))
    assert order.lines[0].filled_amount == 0 + 200
    assert (order.lines[0].filled_at_price, order.lines[0].filled_at_price_amount) == (2, 200)


def test_allowed_actions_name_the_commands_that_some_content_makes_legal() -> None:
    def allowed(*commands: Command) -> set[str]:
        return set(allowed_actions(carry_out(place(3), *commands))) - {"RecordPayment"}

    assert allowed() == {"AcceptOrder", "RejectOrder", "AmendOrder", "CancelOrder", "HoldOrder"}
    assert allowed(ACCEPT, fill(1)) == {
        "AmendOrder",
        "CancelOrder",
        "RecordFill",
        "BustFill",
        "HoldOrder",
        "RecordShipment",
    }
    assert allowed(ACCEPT, fill(3), hold(blocks_fills=True)) == {"BustFill", "HoldOrder", "ReleaseOrderHold"}
    assert allowed(ACCEPT, fill(3), ship(3)) == {"RecordDelivery"}
    assert allowed(*RETURNING) == {"RequestReturn", "ApproveReturn", "RejectReturn", "ReceiveReturn"}
    assert allowed(REJECT) == set()
    assert allowed(pay(PaymentKind.SALE, 5), REJECT) == {"RecordRefund"}


def test_busted_fills_give_their_rounding_back() -> None:
    third = 333_333_333
    story = Story()
    story.carry_out(place(3, price_nanos=third), ACCEPT, *(fill(1, record_id=f"f-{n}") for n in range(3)))
    order = story.carry_out(bust("f-0"), fill(1, record_id="f-3"))
    assert (order.lines[0].filled_amount, order.lines[0].filled_at_price_amount) == (100, 100)


def test_no_fill_costs_less_than_nothing_whichever_were_busted_and_all_together_cost_what_the_line_does() -> None:
    story = Story()
    order = story.carry_out(place(100, price_nanos=DOLLAR // 200), ACCEPT)
    busts = []
    for number in range(8):
        before, order = order, story.carry_out(fill(1, record_id=f"f-{number}"))
        if order.lines[0].filled_amount == before.lines[0].filled_amount:
            busts.append(bust(f"f-{number}"))
    assert story.carry_out(*busts).lines[0].filled_amount == 4
    assert story.carry_out(fill(1, record_id="f-8")).lines[0].filled_amount == 4
    assert story.carry_out(fill(95, record_id="f-9")).lines[0].filled_amount == 50


def test_a_busted_fill_counts_once_and_is_not_filled_again() -> None:
    story = Story()
    busted = story.carry_out(place(3), ACCEPT, fill(2), bust())
    assert story.carry_out(bust(), fill(2)) is busted
    assert isinstance(story.changes[-2], OrderFillRecorded)
    assert isinstance(story.changes[-1], OrderFillBusted)


def test_a_hold_counts_once_while_it_is_in_force_and_a_release_for_ever() -> None:
    story = Story()
    held = story.carry_out(place(3), hold("h-1"), hold("h-2"))
    assert story.carry_out(hold("h-1")) is held
    released = story.carry_out(release("h-1"))
    assert story.carry_out(release("h-1"), hold("h-2")) is released
    assert [each.hold_id for each in released.holds] == ["h-2"]


def test_an_amended_price_counts_from_then_on() -> None:
    order = carry_out(place(3), ACCEPT, fill(1), amend(3, nanos=2 * DOLLAR), fill(2, record_id="f-2"))
    line = order.lines[0]
    assert (line.amount, line.filled_amount, line.filled_at_price_amount) == (600, 100 + 400, 400)


def test_a_fill_before_two_amendments_is_busted_at_its_own_amount() -> None:
    back = carry_out(place(3), ACCEPT, fill(1), amend(3, nanos=2 * DOLLAR), amend(3, nanos=DOLLAR), bust())
    assert (back.lines[0].filled_amount, back.lines[0].filled_at_price, back.lines[0].filled_at_price_amount) == (
        0,
        0,
        0,
    )


def test_an_amendment_says_what_was_and_what_is() -> None:
    price = UnitPrice(currency_code="USD", nanos=DOLLAR)
    lines = (LineAmendment(line_id="2", quantity=5, price=price),)
    command = AmendOrder(order_id="o-1", paths=("lines", "expire_time"), lines=lines, expire_time_us=7)
    story = Story()
    order = story.carry_out(place(3, 2), command)
    (change,) = story.changes[1:]
    assert isinstance(change, OrderAmended)
    assert (change.before.lines[0].quantity, change.after.lines[0].quantity) == (2, 5)
    assert (change.before.expire_time_us, change.after.expire_time_us) == (None, 7)
    assert ([line.quantity for line in order.lines], order.expire_time_us) == ([3, 5], 7)


def test_an_order_expires_when_its_time_has_come() -> None:
    order = carry_out(place(3, expire_time_us=5), ACCEPT, fill(1), expire(5))
    assert (order.state, order.close_reason) == (OrderState.PARTIALLY_CANCELED, CloseReason.EXPIRED)
    with pytest.raises(NotDueError):
        carry_out(place(3, expire_time_us=5), expire(4))


def test_a_market_has_the_last_word_on_a_cancel() -> None:
    story = Story()
    asked = story.carry_out(MARKET_ORDER, ACCEPT, CANCEL)
    assert (asked.state, asked.cancel_requested, asked.leaves) == (OrderState.ACCEPTED, True, 3)
    with pytest.raises(OrderStateConflictError):
        story.carry_out(CANCEL)
    with pytest.raises(OrderNotFoundError):
        story.carry_out(ConfirmOrderCancel(order_id="o-1", market_id="m-2", lines=()))
    refused = story.carry_out(REJECT_CANCEL)
    assert (refused.cancel_requested, refused.leaves) == (False, 3)
    confirmed = story.carry_out(cancel(2), fill(1), confirm_cancel(2))
    assert (confirmed.state, confirmed.cancel_requested) == (OrderState.PARTIALLY_CANCELED, False)


def test_a_cancel_that_a_complete_fill_overtakes_is_still_answered() -> None:
    story = Story()
    filled = story.carry_out(MARKET_ORDER, ACCEPT, CANCEL, fill(3))
    assert (filled.state, filled.cancel_requested) == (OrderState.FILLED, True)
    with pytest.raises(TooLateToCancelError):
        story.carry_out(CONFIRM_CANCEL)
    assert not story.carry_out(REJECT_CANCEL).cancel_requested


def test_a_late_fill_that_a_hold_blocks_is_refused_for_what_is_in_its_way() -> None:
    order = carry_out(place(3), ACCEPT, hold(blocks_fills=True), CANCEL)
    with pytest.raises(OrderClosedError):
        decide(order, fill(1), {})
    with pytest.raises(OrderHeldError):
        decide(order, fill(1), {}, LATE_FILLS)


def test_a_late_fill_takes_canceled_units_where_the_policy_says_so() -> None:
    story = Story(LATE_FILLS)
    story.carry_out(place(3), ACCEPT, fill(1), CANCEL)
    with pytest.raises(OverfillError):
        story.carry_out(fill(3, record_id="f-2"))
    order = story.carry_out(fill(2, record_id="f-2"))
    assert (order.state, order.lines[0].canceled, order.close_reason) == (OrderState.FILLED, 0, CloseReason.CANCELED)
    assert isinstance(story.changes[-1], OrderFillRecorded)
    assert story.changes[-1].late


def test_money_moves_independently_of_the_goods() -> None:
    order = carry_out(
        place(3),
        pay(PaymentKind.AUTHORIZE, 300),
        pay(PaymentKind.CAPTURE, 200, record_id="p-2"),
        CANCEL,
        refund(150),
        pay(PaymentKind.SALE, 10, record_id="p-3"),
    )
    assert (order.authorized, order.captured, order.refunded) == (310, 210, 150)


def test_who_accepts_an_order_is_the_policys() -> None:
    limits = OrderLimits(total_max={"USD": 300}, quantity_max=3, restricted_products=frozenset({"p-2"}))
    risk = Policy(acceptance=Acceptance.RISK, pre_trade=limits)
    automatic = Policy(acceptance=Acceptance.AUTOMATIC)
    assert [type(change) for change in decide(None, place(9), {}, automatic)] == [OrderPlaced, OrderAccepted]
    assert [type(change) for change in decide(None, place(3), {}, risk)] == [OrderPlaced, OrderAccepted]
    placed, rejected = decide(None, place(4, 1), {}, risk)
    assert (type(placed), type(rejected)) == (OrderPlaced, OrderRejected)
    assert rejected == OrderRejected(
        reason_code="PRE_TRADE_CHECK", checks=("ORDER_TOTAL", "LINE_QUANTITY", "RESTRICTED_PRODUCT")
    )


def test_no_amendment_gets_around_the_limits_by_which_orders_are_judged() -> None:
    limits = OrderLimits(total_max={"USD": 300}, quantity_max=3)
    risk = Policy(acceptance=Acceptance.RISK, pre_trade=limits)
    order = carry_out(place(1, 1), ACCEPT)
    with pytest.raises(PreTradeCheckError) as refused:
        decide(order, amend(4), {}, risk)
    assert refused.value.checks == "ORDER_TOTAL,LINE_QUANTITY"
    assert decide(order, amend(2), {}, risk)
    assert decide(order, amend(4), {}, Policy(pre_trade=limits))
    tighter = Policy(acceptance=Acceptance.RISK, pre_trade=OrderLimits(quantity_max=1))
    assert decide(carry_out(place(3), ACCEPT), amend(2), {}, tighter), "taking units off helps, if not enough"


def test_personal_data_can_be_erased_in_every_state_and_again_once_it_was_given_anew() -> None:
    given = AmendOrder(order_id="o-1", paths=("personal.email",))
    for past in ([], [ACCEPT], [REJECT], [ACCEPT, CANCEL]):
        order = carry_out(place(3), *past, ERASE)
        assert order.personal_erase_time_us == 2
        assert decide(order, ERASE, {}) == []
        assert "EraseOrderPersonalData" not in allowed_actions(order)
    assert carry_out(place(3), ERASE, amend(5)).personal_erase_time_us == 2
    assert carry_out(place(3), ERASE, given).personal_erase_time_us is None
    assert carry_out(place(3), ERASE, given, ERASE).version == 4
