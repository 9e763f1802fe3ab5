"""What Portfolio and Risk make of a fill that is taken back: the order as it stands says all of it."""

import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent

from consumers.portfolio import main as portfolio
from consumers.portfolio import model as portfolio_model
from consumers.risk import main as risk
from consumers.risk import model as risk_model
from order.adapters.wire_order import order_to_wire
from order.domain.commands import Command
from tests.harness.order_commands import ACCEPT, CANCEL, bust, cancel, fill
from tests.harness.orders import carry_out, place


@pytest.mark.parametrize(
    ("without", "with_bust"),
    [
        pytest.param([], [fill(2, nanos=7_770_000_000), bust()], id="open"),
        pytest.param([CANCEL], [fill(2, nanos=7_770_000_000), CANCEL, bust()], id="closed"),
        pytest.param(
            [cancel(1), fill(1, record_id="f-2")], [cancel(1), fill(1), bust(), fill(1, record_id="f-2")], id="refilled"
        ),
    ],
)
def test_a_busted_fill_leaves_nothing_behind(without: list[Command], with_bust: list[Command]) -> None:
    never, busted = (
        OrderEvent(order=order_to_wire(carry_out(place(3), ACCEPT, *commands))) for commands in (without, with_bust)
    )
    holdings = [portfolio_model.contribution(portfolio.snapshot_of(event)) for event in (never, busted)]
    assert holdings[0] == holdings[1]
    exposures = [risk_model.contribution(risk.snapshot_of(event)) for event in (never, busted)]
    assert exposures[0] == exposures[1]
