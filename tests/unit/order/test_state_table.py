"""Which states may follow which, found by walking every order of few units through every command."""

from collections.abc import Iterator, Mapping

from order.domain.commands import Command, LineQuantity
from order.domain.errors import OrderError
from order.domain.lifecycle import decide, evolve
from order.domain.order import Order
from order.domain.policy import Policy
from order.domain.records import Fill, History, PricedFillLine, Record, Return, ReturnState, Shipment
from tests.harness import order_commands as commands
from tests.harness.order_invariants import check_invariants
from tests.harness.order_story import LATE_FILLS
from tests.harness.orders import DOLLAR, place

Step = tuple[str, Command, History | None]


def test_the_reviewed_table_is_what_small_orders_can_meet() -> None:
    assert reviewed(TABLE) == walk(Policy(), 3) | walk(Policy(), 1, 2)


def test_late_fills_add_to_the_table_what_was_reviewed() -> None:
    met = walk(LATE_FILLS, 3) | walk(LATE_FILLS, 1, 2)
    assert reviewed(LATE) == met - reviewed(TABLE)


def walk(policy: Policy, *sizes: int) -> set[tuple[str, str, str]]:
    """Every (state, command, next state) that an order of this size can meet."""
    met: set[tuple[str, str, str]] = set()
    waiting = [evolved(None, place(*sizes, expire_time_us=5), None, policy)]
    seen = {configuration(waiting[0])}
    while waiting:
        order = waiting.pop()
        check_invariants(order)
        for name, command, history in steps(order, sizes):
            try:
                after = evolved(order, command, history, policy)
            except OrderError:
                continue
            met.add((order.state.value, name, after.state.value))
            if configuration(after) not in seen:
                seen.add(configuration(after))
                waiting.append(after)
    return met


def evolved(order: Order | None, command: Command, history: History | None, policy: Policy) -> Order:
    """The order after the command, given the one record that it asks for."""
    records = {} if history is None else {("o-1", history.kind, history.record_id): Record("", history)}
    for change in decide(order, command, records, policy):
        order = evolve(order, change, occur_time_us=1, record_time_us=1)
    assert order is not None
    return order


def configuration(order: Order) -> tuple[object, ...]:
    """What decides an order's future: its units, not its money."""
    counters = tuple(
        (line.quantity, line.filled, line.canceled, line.shipped, line.delivered, line.return_open, line.returned)
        for line in order.lines
    )
    return order.accepted, order.rejected, order.close_reason, counters


def steps(order: Order, sizes: tuple[int, ...]) -> Iterator[Step]:
    """Every command that differs in effect, each with whatever past of the same counters would allow it most."""
    yield from (("Accept", commands.ACCEPT, None), ("Reject", commands.REJECT, None))
    yield "Expire", commands.expire(5), None
    for units in splits(sizes):
        yield "Amend", commands.amend(*units), None
        yield "Cancel", commands.cancel(*units), None
        yield "Fill", commands.fill(*units), None
        yield "Bust", commands.bust(), fill_of(units)
        yield "Ship", commands.ship(*units), None
        yield "Deliver", commands.deliver(*units), shipment_of(order)
        yield "Request return", commands.request_return(*units), None
        yield "Receive return", commands.receive_return(*units), return_of(order, ReturnState.APPROVED)
    yield "Reject return", commands.reject_return(), return_of(order, ReturnState.REQUESTED)


def splits(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every number of units of any one line, and of all lines together."""
    for number, size in enumerate(sizes):
        for quantity in range(1, size + 1):
            yield tuple(quantity if each == number else 0 for each in range(len(sizes)))
    if len(sizes) > 1:
        yield sizes
        yield (1,) * len(sizes)


def fill_of(units: tuple[int, ...]) -> Fill:
    lines = tuple(
        PricedFillLine(line_id=str(number), quantity=quantity, price_nanos=DOLLAR, amount=100 * quantity)
        for number, quantity in enumerate(units, 1)
        if quantity
    )
    return Fill(record_id="f-1", lines=lines, version=1)


def shipment_of(order: Order) -> Shipment:
    shipped = tuple(LineQuantity(line_id=line.line_id, quantity=line.shipped) for line in order.lines)
    delivered = tuple(LineQuantity(line_id=line.line_id, quantity=line.delivered) for line in order.lines)
    return Shipment(record_id="s-1", lines=shipped, carrier="", tracking_number="", delivered=delivered)


def return_of(order: Order, state: ReturnState) -> Return:
    lines = tuple(LineQuantity(line_id=line.line_id, quantity=line.return_open) for line in order.lines)
    return Return(record_id="r-1", lines=lines, reason_code="", state=state)


def reviewed(table: Mapping[str, Mapping[str, str]]) -> set[tuple[str, str, str]]:
    return {
        (state, command, after)
        for state, row in table.items()
        for command, afters in row.items()
        for after in afters.split()
    }


# State, command, and the states that may follow; regenerated by the walk, reviewed by hand. The rest is refused.
TABLE = {
    "PENDING": {
        "Accept": "ACCEPTED",
        "Reject": "REJECTED",
        "Amend": "PENDING CANCELED",
        "Cancel": "PENDING CANCELED",
        "Expire": "EXPIRED",
    },
    "ACCEPTED": {
        "Amend": "ACCEPTED CANCELED",
        "Cancel": "ACCEPTED CANCELED",
        "Expire": "EXPIRED",
        "Fill": "PARTIALLY_FILLED FILLED PARTIALLY_CANCELED",
    },
    "PARTIALLY_FILLED": {
        "Amend": "PARTIALLY_FILLED FILLED PARTIALLY_CANCELED",
        "Cancel": "PARTIALLY_FILLED PARTIALLY_CANCELED",
        "Expire": "PARTIALLY_CANCELED",
        "Fill": "PARTIALLY_FILLED FILLED PARTIALLY_CANCELED",
        "Bust": "ACCEPTED PARTIALLY_FILLED",
        "Ship": "PARTIALLY_SHIPPED",
    },
    "FILLED": {
        "Bust": "ACCEPTED PARTIALLY_FILLED",
        "Ship": "PARTIALLY_SHIPPED SHIPPED",
    },
    "PARTIALLY_CANCELED": {
        "Bust": "PARTIALLY_CANCELED CANCELED EXPIRED",
        "Ship": "PARTIALLY_SHIPPED SHIPPED",
    },
    "PARTIALLY_SHIPPED": {
        "Amend": "PARTIALLY_SHIPPED SHIPPED",
        "Cancel": "PARTIALLY_SHIPPED SHIPPED",
        "Expire": "PARTIALLY_SHIPPED SHIPPED",
        "Fill": "PARTIALLY_SHIPPED",
        "Bust": "PARTIALLY_SHIPPED SHIPPED",
        "Ship": "PARTIALLY_SHIPPED SHIPPED",
        "Deliver": "PARTIALLY_DELIVERED",
    },
    "SHIPPED": {
        "Deliver": "PARTIALLY_DELIVERED DELIVERED",
    },
    "PARTIALLY_DELIVERED": {
        "Amend": "PARTIALLY_DELIVERED DELIVERED",
        "Cancel": "PARTIALLY_DELIVERED DELIVERED",
        "Expire": "PARTIALLY_DELIVERED DELIVERED",
        "Fill": "PARTIALLY_DELIVERED",
        "Bust": "PARTIALLY_DELIVERED DELIVERED",
        "Ship": "PARTIALLY_DELIVERED",
        "Deliver": "PARTIALLY_DELIVERED DELIVERED",
        "Request return": "PARTIALLY_DELIVERED",
        "Reject return": "PARTIALLY_DELIVERED",
        "Receive return": "PARTIALLY_RETURNED",
    },
    "DELIVERED": {
        "Request return": "DELIVERED",
        "Reject return": "DELIVERED",
        "Receive return": "PARTIALLY_RETURNED RETURNED",
    },
    "PARTIALLY_RETURNED": {
        "Amend": "PARTIALLY_RETURNED RETURNED",
        "Cancel": "PARTIALLY_RETURNED RETURNED",
        "Expire": "PARTIALLY_RETURNED RETURNED",
        "Fill": "PARTIALLY_RETURNED",
        "Bust": "PARTIALLY_RETURNED RETURNED",
        "Ship": "PARTIALLY_RETURNED",
        "Deliver": "PARTIALLY_RETURNED",
        "Request return": "PARTIALLY_RETURNED",
        "Reject return": "PARTIALLY_RETURNED",
        "Receive return": "PARTIALLY_RETURNED RETURNED",
    },
}

# What an order that takes late fills can meet beside that: its canceled units may still be filled.
LATE = {
    "FILLED": {
        "Bust": "PARTIALLY_CANCELED CANCELED EXPIRED",
    },
    "PARTIALLY_CANCELED": {
        "Fill": "FILLED PARTIALLY_CANCELED",
    },
    "CANCELED": {
        "Fill": "FILLED PARTIALLY_CANCELED",
    },
    "EXPIRED": {
        "Fill": "FILLED PARTIALLY_CANCELED",
    },
    "SHIPPED": {
        "Fill": "PARTIALLY_SHIPPED",
    },
    "DELIVERED": {
        "Fill": "PARTIALLY_DELIVERED",
    },
    "RETURNED": {
        "Fill": "PARTIALLY_RETURNED",
    },
}
