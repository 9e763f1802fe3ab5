"""The fold, by examples and by properties."""

import random

from hypothesis import given
from hypothesis import strategies as st
from stateset.common.v1.money_pb2 import Money
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order

from consumers.risk.main import snapshot_of
from consumers.risk.model import Contribution, Exposure, ExposureKey, Line, Snapshot, contribution
from consumers.sums import Sums, digest
from tests.harness.order_histories import histories, interleaved

ANN = ExposureKey("ann", "USD")


def order(*lines: Line, currency_code: str = "USD") -> Snapshot:
    return Snapshot(customer_id="ann", currency_code=currency_code, lines=lines)


def pens(*, leaves: int = 0, filled_minor_units: int = 0, price_nanos: int = 1_500_000_000) -> Line:
    return Line(leaves=leaves, price_nanos=price_nanos, filled_minor_units=filled_minor_units)


def folded(events: list[OrderEvent]) -> Sums[ExposureKey, Exposure]:
    total: Sums[ExposureKey, Exposure] = Sums(Exposure)
    known: dict[str, Contribution] = {}
    for event in events:
        after = contribution(snapshot_of(event))
        total.replace(known.get(event.order_id, {}), after)
        known[event.order_id] = after
    return total


def test_open_units_expose_at_their_lines_price_and_filled_ones_at_what_they_cost() -> None:
    result = contribution(order(pens(leaves=2, filled_minor_units=140), pens(leaves=1)))
    assert {ANN: Exposure(open_notional=450, filled_amount=140)} == result
    assert result[ANN].gross == 590


def test_each_line_is_rounded_by_itself_in_the_currencys_own_minor_units() -> None:
    half_a_cent = 5_000_000
    assert {ANN: Exposure(4, 0)} == contribution(order(*[pens(leaves=3, price_nanos=half_a_cent)] * 2))
    yen = contribution(order(pens(leaves=2), currency_code="JPY"))
    assert {ExposureKey("ann", "JPY"): Exposure(3, 0)} == yen


def test_a_canceled_order_exposes_nothing_and_keeps_its_row() -> None:
    total: Sums[ExposureKey, Exposure] = Sums(Exposure)
    placed, canceled = contribution(order(pens(leaves=2))), contribution(order(pens()))
    total.replace({}, placed)
    total.replace(placed, canceled)
    assert {ANN: Exposure(0, 0)} == total


def test_payments_refunds_and_returns_leave_an_exposure_as_it_is() -> None:
    event = OrderEvent(order=Order(customer_id="ann", currency_code="USD"))
    event.order.lines.add(quantity=3, filled=2, leaves=1, filled_amount=Money(minor_units=140))
    before = contribution(snapshot_of(event))
    event.order.captured.minor_units = event.order.refunded.minor_units = 70
    event.order.lines[0].returned = 2
    assert before == contribution(snapshot_of(event))


@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=6))
def test_exposures_do_not_depend_on_how_orders_interleave(chance: random.Random, orders: int) -> None:
    of_orders = histories(chance, orders)
    straight = [event for events in of_orders for event in events]
    assert digest(folded(straight).items()) == digest(folded(interleaved(chance, of_orders)).items())


@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=6))
def test_exposures_are_what_the_orders_latest_versions_add_up_to(chance: random.Random, orders: int) -> None:
    of_orders = histories(chance, orders)
    assert folded(interleaved(chance, of_orders)) == folded([events[-1] for events in of_orders])
