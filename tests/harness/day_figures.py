"""Analytics' figures once more, from all events at once: it shares no code with the fold."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import CLOSE_REASON_CANCELED, Order


def day(event: OrderEvent) -> str:
    return event.metadata.occur_time.ToDatetime().date().isoformat()


@dataclass(slots=True)
class DayFigures:
    """Counted over the whole log."""

    transitions: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    orders: Counter[tuple[str, str]] = field(default_factory=Counter)
    gross: Counter[tuple[str, str]] = field(default_factory=Counter)
    funnel: Counter[str] = field(default_factory=Counter)


def recomputed(log: Iterable[OrderEvent]) -> DayFigures:
    figures = DayFigures()
    of_orders: defaultdict[str, list[OrderEvent]] = defaultdict(list)
    for event in log:
        figures.transitions[day(event), event.previous_state, event.state] += 1
        of_orders[event.order_id].append(event)
    for events in of_orders.values():
        first = next(event for event in events if event.version == 1)
        group = day(first), first.order.currency_code
        figures.orders[group] += 1
        figures.gross[group] += sum(line.amount.minor_units for line in first.order.lines)
        figures.funnel.update({stage for event in events for stage in _stages(event.order)})
    return figures


def _stages(order: Order) -> Iterable[str]:
    yield "placed"
    if order.accepted:
        yield "accepted"
    if order.rejected:
        yield "rejected"
    if any(line.leaves for line in order.lines):
        return
    if not any(line.filled for line in order.lines):
        if order.close_reason == CLOSE_REASON_CANCELED:
            yield "canceled"
        return
    yield "filled"
    if all(line.shipped == line.filled for line in order.lines):
        yield "shipped"
    if all(line.delivered == line.filled for line in order.lines):
        yield "delivered"
