"""Between the messages of the contracts and the values of the model."""

from typing import Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import CLOSE_REASON_CANCELED, Order, OrderState

from consumers.analytics.model import Snapshot, Step, day_of
from infra.runtime.grpc.wire import timestamp_from_wire

_PREFIX: Final = "ORDER_STATE_"


def step_of(event: OrderEvent) -> Step:
    """What Analytics looks at in an event, whatever kind of change it is."""
    return Step(
        day=day_of(timestamp_from_wire(event.metadata.occur_time)),
        previous_state=state_name(event.previous_state),
        state=state_name(event.state),
        order=_snapshot_of(event.order),
    )


def _snapshot_of(order: Order) -> Snapshot:
    return Snapshot(
        placed_day=day_of(timestamp_from_wire(order.place_time)),
        currency_code=order.currency_code,
        total=order.total.minor_units,
        accepted=order.accepted,
        rejected=order.rejected,
        canceled=order.close_reason == CLOSE_REASON_CANCELED,
        leaves=sum(line.leaves for line in order.lines),
        filled=sum(line.filled for line in order.lines),
        shipped=sum(line.shipped for line in order.lines),
        delivered=sum(line.delivered for line in order.lines),
    )


def state_name(state: int) -> str:
    """The state's name; "" where there is none, and the number of a state that this program does not know."""
    if not state:
        return ""
    known = OrderState.DESCRIPTOR.values_by_number.get(state)
    return known.name.removeprefix(_PREFIX) if known else str(state)


def state_number(name: str) -> OrderState.ValueType:
    """The state that `state_name` named so."""
    known = OrderState.DESCRIPTOR.values_by_name.get(f"{_PREFIX}{name or 'UNSPECIFIED'}")
    return OrderState.ValueType(known.number if known else int(name))
