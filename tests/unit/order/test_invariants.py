"""What holds whatever is asked of an order, and in whatever sequence."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from infra.kernel.money import amount
from order.domain.changes import OrderFillBusted, OrderFillRecorded
from order.domain.commands import Command, HoldOrder, PaymentKind, ReleaseOrderHold
from order.domain.errors import OrderError
from order.domain.policy import Policy
from tests.harness import order_commands as commands
from tests.harness.order_invariants import check_invariants
from tests.harness.order_story import LATE_FILLS, Story
from tests.harness.orders import DOLLAR, place

THIRD = 333_333_333
HALF_A_CENT = st.just(5_000_000)
ids = st.sampled_from(["1", "2", "3", "4"])
units = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any)
prices = st.sampled_from([None, DOLLAR, THIRD, 7_777_777])


def of_units(make: object) -> st.SearchStrategy[Command]:
    return units.map(lambda each: make(*each))  # type: ignore[operator]


def of_records(make: object) -> st.SearchStrategy[Command]:
    return st.tuples(units, ids).map(lambda each: make(*each[0], record_id=each[1]))  # type: ignore[operator]


anything: st.SearchStrategy[Command] = st.one_of(
    st.sampled_from(
        [
            commands.ACCEPT,
            commands.REJECT,
            commands.CANCEL,
            commands.CONFIRM_CANCEL,
            commands.REJECT_CANCEL,
            commands.ERASE,
        ]
    ),
    of_units(commands.cancel),
    of_units(commands.confirm_cancel),
    st.tuples(units, prices).map(lambda each: commands.amend(*each[0], nanos=each[1])),
    st.integers(4, 6).map(commands.expire),
    st.tuples(units, prices, ids).map(lambda each: commands.fill(*each[0], nanos=each[1], record_id=each[2])),
    ids.map(commands.bust),
    st.tuples(ids, st.booleans()).map(lambda each: commands.hold(each[0], blocks_fills=each[1])),
    ids.map(commands.release),
    of_records(commands.ship),
    st.tuples(units, ids, ids).map(lambda each: commands.deliver(*each[0], record_id=each[1], shipment_id=each[2])),
    of_records(commands.request_return),
    ids.map(commands.approve_return),
    ids.map(commands.reject_return),
    st.tuples(units | st.just(()), ids).map(lambda each: commands.receive_return(*each[0], return_id=each[1])),
    st.tuples(st.sampled_from(PaymentKind), st.integers(1, 900), ids).map(
        lambda each: commands.pay(each[0], each[1], record_id=each[2])
    ),
    st.tuples(st.integers(1, 900), ids).map(lambda each: commands.refund(each[0], record_id=each[1])),
)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([DOLLAR, THIRD]),
    st.sampled_from(["", commands.MARKET]),
    st.sampled_from([Policy(), LATE_FILLS]),
    st.lists(anything, max_size=30),
)
def test_invariants_hold_whatever_is_asked(
    sizes: tuple[int, int], price: int, market: str, policy: Policy, asked: list[Command]
) -> None:
    story = Story(policy)
    order = story.carry_out(place(*sizes, price_nanos=price, market_id=market, expire_time_us=5))
    for command in asked:
        before, changes = order, len(story.changes)
        try:
            order = story.carry_out(command)
        except OrderError:
            assert story.order is before
        assert order.version == before.version + len(story.changes) - changes
        check_invariants(order)
    check_money_of_fills(story)


def check_money_of_fills(story: Story) -> None:
    """Each fill counts once, and what the lines say was paid is the sum of the fills that stand."""
    recorded = [each.history for each in story.changes if isinstance(each, OrderFillRecorded)]
    live = {fill.record_id: fill for fill in recorded}
    assert len(live) == len(recorded)
    assert all(part.amount >= 0 for fill in recorded for part in fill.lines)
    for change in story.changes:
        if isinstance(change, OrderFillBusted):
            del live[change.fill.record_id]
    assert story.order is not None
    for line in story.order.lines:
        parts = [(fill, part) for fill in live.values() for part in fill.lines if part.line_id == line.line_id]
        own = [
            part for fill, part in parts if part.price_nanos == line.price_nanos and fill.version > line.price_version
        ]
        assert (line.filled, line.filled_amount) == (
            sum(part.quantity for _, part in parts),
            sum(part.amount for _, part in parts),
        )
        assert (line.filled_at_price, line.filled_at_price_amount) == (
            sum(part.quantity for part in own),
            sum(part.amount for part in own),
        )


@given(st.lists(st.one_of(ids.map(commands.hold), ids.map(commands.release)), max_size=30))
def test_a_hold_is_as_its_caller_was_told_whatever_was_before(asked: list[HoldOrder | ReleaseOrderHold]) -> None:
    story = Story()
    story.carry_out(place(3))
    for command in asked:
        with suppress(OrderError):
            order = story.carry_out(command)
            in_force = command.record_id in [hold.hold_id for hold in order.holds]
            assert in_force == isinstance(command, HoldOrder)


@given(st.integers(1, 50), HALF_A_CENT | st.integers(1, 2_000_000_000), st.data())
def test_fills_at_the_lines_price_add_up_after_any_busts(quantity: int, price: int, data: st.DataObject) -> None:
    story, standing = Story(), list[str]()
    order = story.carry_out(place(quantity, price_nanos=price), commands.ACCEPT)
    for number in range(data.draw(st.integers(0, 12))):
        if order.leaves:
            units_filled = data.draw(st.just(1) | st.integers(1, order.leaves))
            order = story.carry_out(commands.fill(units_filled, record_id=f"f-{number}"))
            standing.append(f"f-{number}")
        if data.draw(st.booleans()) and standing:
            order = story.carry_out(commands.bust(standing.pop(data.draw(st.integers(0, len(standing) - 1)))))
        check_invariants(order)
    if order.leaves:
        order = story.carry_out(commands.fill(order.leaves, record_id="last"))
    assert order.lines[0].filled_amount == amount(quantity, price, "USD")
    check_money_of_fills(story)
