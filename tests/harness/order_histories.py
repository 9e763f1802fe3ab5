"""Events as the order model makes them: orders that take every legal turn, by a seed."""

import random
from collections.abc import Callable, Mapping, Sequence

from stateset.order.v1.order_event_pb2 import OrderEvent

from order.adapters.wire import WireCodec
from order.application.ports import CausedEvent
from order.domain.commands import (
    AcceptOrder,
    AmendOrder,
    Amount,
    ApproveReturn,
    BustFill,
    CancelOrder,
    Command,
    ConfirmOrderCancel,
    Disposition,
    ExpireOrder,
    FillLine,
    HoldOrder,
    LineAmendment,
    LineQuantity,
    NewLine,
    PaymentKind,
    PlaceOrder,
    ReceiveReturn,
    RecordDelivery,
    RecordFill,
    RecordPayment,
    RecordRefund,
    RecordShipment,
    RejectOrder,
    RejectOrderCancel,
    RejectReturn,
    ReleaseOrderHold,
    RequestReturn,
)
from order.domain.errors import OrderError
from order.domain.legality import allowed_actions
from order.domain.lifecycle import decide, evolve, records_after
from order.domain.order import Line, Order
from order.domain.policy import Policy
from order.domain.records import Record, RecordKey
from tests.harness.orders import submission

DAY_US = 86_400_000_000
_FIRST_DAY_US = 20_000 * DAY_US
_CODEC = WireCodec("log", 1)
_STEPS_MAX = 16


class Wanderer:
    """Makes up the next command of one order, from what it may do."""

    def __init__(self, order_id: str, chance: random.Random) -> None:
        self._chance = chance
        self._order_id = order_id
        self.order: Order | None = None
        self.records: dict[RecordKey, Record] = {}

    def place(self) -> PlaceOrder:
        """A new order of one to three lines."""
        lines = tuple(
            NewLine(
                line_id=str(number),
                product_id=f"p-{number}",
                quantity=self._chance.randint(1, 5),
                price_nanos=self._chance.randrange(0, 20_000_000_000, 1_250_000),
            )
            for number in range(self._chance.randint(1, 3))
        )
        return PlaceOrder(
            order_id=self._order_id,
            customer_id=f"c-{self._chance.randrange(3)}",
            store_id="",
            currency_code=self._chance.choice(["USD", "JPY"]),
            lines=lines,
            expected_total=None,
            expire_time_us=self._chance.choice([None, 1]),
            market_id=self._chance.choice(["", "", "m-1"]),
        )

    def step(self) -> Command:
        """A command that the order's state allows; a guard may still refuse it."""
        assert self.order is not None
        actions = [*allowed_actions(self.order)]
        if self.order.due_time_us is not None:
            actions.append("ExpireOrder")
        return self._MAKE[self._chance.choice(actions)](self)

    def _units(self, left: Callable[[Line], int]) -> tuple[LineQuantity, ...]:
        assert self.order is not None
        lines = [line for line in self.order.lines if left(line)]
        chosen = self._chance.sample(lines, self._chance.randint(1, len(lines)))
        return tuple(
            LineQuantity(line_id=line.line_id, quantity=self._chance.randint(1, left(line))) for line in chosen
        )

    def _new_id(self) -> str:
        assert self.order is not None
        return f"r-{self.order.version}"

    def _known_id(self, kind: str) -> str:
        return self._chance.choice([key[2] for key in self.records if key[1] == kind])

    def _amend(self) -> Command:
        units = self._units(lambda line: line.quantity)
        lines = tuple(LineAmendment(line_id=each.line_id, quantity=each.quantity + 1) for each in units)
        return AmendOrder(order_id=self._order_id, paths=("lines",), lines=lines)

    def _fill(self) -> Command:
        units = self._units(lambda line: line.leaves)
        lines = tuple(FillLine(line_id=each.line_id, quantity=each.quantity, price=None) for each in units)
        return RecordFill(order_id=self._order_id, record_id=self._new_id(), lines=lines)

    def _hold(self) -> Command:
        blocks_fills = self._chance.random() < 0.5
        return HoldOrder(
            order_id=self._order_id, record_id=self._new_id(), reason_code="FRAUD_REVIEW", blocks_fills=blocks_fills
        )

    def _release(self) -> Command:
        assert self.order is not None
        hold = self._chance.choice(self.order.holds)
        return ReleaseOrderHold(order_id=self._order_id, record_id=hold.hold_id)

    def _ship(self) -> Command:
        return RecordShipment(
            order_id=self._order_id,
            record_id=self._new_id(),
            lines=self._units(lambda line: line.filled - line.shipped),
            carrier="",
            tracking_number="",
        )

    def _deliver(self) -> Command:
        return RecordDelivery(
            order_id=self._order_id,
            record_id=self._new_id(),
            shipment_id=self._known_id("shipment"),
            lines=self._units(lambda line: line.shipped - line.delivered),
        )

    def _request_return(self) -> Command:
        lines = self._units(lambda line: line.delivered - line.returned - line.return_open)
        return RequestReturn(order_id=self._order_id, record_id=self._new_id(), lines=lines, reason_code="DAMAGED")

    def _receive_return(self) -> Command:
        return ReceiveReturn(
            order_id=self._order_id,
            return_id=self._known_id("return"),
            lines=(),
            disposition=self._chance.choice(list(Disposition)),
        )

    def _amount(self) -> Amount:
        assert self.order is not None
        return Amount(currency_code=self.order.currency_code, minor_units=self._chance.randint(1, 5000))

    def _pay(self) -> Command:
        kind = self._chance.choice(list(PaymentKind))
        return RecordPayment(order_id=self._order_id, record_id=self._new_id(), payment=kind, amount=self._amount())

    _MAKE: Mapping[str, Callable[["Wanderer"], Command]] = {
        "AcceptOrder": lambda self: AcceptOrder(order_id=self._order_id),
        "RejectOrder": lambda self: RejectOrder(order_id=self._order_id, reason_code="OUT_OF_STOCK"),
        "AmendOrder": _amend,
        "CancelOrder": lambda self: CancelOrder(order_id=self._order_id, lines=self._units(lambda line: line.leaves)),
        "ConfirmOrderCancel": lambda self: ConfirmOrderCancel(order_id=self._order_id, market_id="m-1", lines=()),
        "RejectOrderCancel": lambda self: RejectOrderCancel(
            order_id=self._order_id, market_id="m-1", reason_code="TOO_LATE"
        ),
        "ExpireOrder": lambda self: ExpireOrder(order_id=self._order_id, time_us=2),
        "RecordFill": _fill,
        "BustFill": lambda self: BustFill(order_id=self._order_id, record_id=self._known_id("fill")),
        "HoldOrder": _hold,
        "ReleaseOrderHold": _release,
        "RecordShipment": _ship,
        "RecordDelivery": _deliver,
        "RequestReturn": _request_return,
        "ApproveReturn": lambda self: ApproveReturn(order_id=self._order_id, return_id=self._known_id("return")),
        "RejectReturn": lambda self: RejectReturn(
            order_id=self._order_id, return_id=self._known_id("return"), reason_code="TOO_LATE"
        ),
        "ReceiveReturn": _receive_return,
        "RecordPayment": _pay,
        "RecordRefund": lambda self: RecordRefund(
            order_id=self._order_id, record_id=self._new_id(), amount=self._amount()
        ),
    }


class _Walk:
    """One order on its way."""

    def __init__(self, order_id: str, chance: random.Random) -> None:
        self._chance = chance
        self._wanderer = Wanderer(order_id, chance)
        self._now_us = _FIRST_DAY_US + chance.randrange(5 * DAY_US)

    def place(self) -> list[OrderEvent]:
        return self._carry_out(self._wanderer.place())

    def step(self) -> list[OrderEvent]:
        """Events of one command; none if a guard refuses it."""
        self._now_us += self._chance.randrange(-DAY_US, 2 * DAY_US)  # reports come late, too
        try:
            return self._carry_out(self._wanderer.step())
        except OrderError:
            return []

    def _carry_out(self, command: Command) -> list[OrderEvent]:
        records = self._wanderer.records
        if isinstance(command, BustFill) and (command.order_id, "bust", command.record_id) in records:
            return []
        events = []
        changes = decide(self._wanderer.order, command, records, Policy())
        for change in changes:
            before = self._wanderer.order
            after = evolve(before, change, occur_time_us=self._now_us, record_time_us=self._now_us)
            caused = CausedEvent(event_id="e", change=change, version=after.version, seq=1, group_index=0, group_size=1)
            encoded = _CODEC.encode_event(
                submission(command, occur_time_us=self._now_us), caused, before, after, _CODEC.encode_order(after)
            )
            self._wanderer.order = after
            events.append(OrderEvent.FromString(encoded))
        records |= records_after(command, changes, records)
        return events


def histories(chance: random.Random, orders: int) -> list[list[OrderEvent]]:
    """The events of each order, in the sequence of its versions."""
    result = []
    for number in range(orders):
        walk = _Walk(f"o-{number}", chance)
        events = walk.place()
        for _ in range(chance.randrange(_STEPS_MAX)):
            events += walk.step()
        result.append(events)
    return result


def interleaved(chance: random.Random, of_orders: Sequence[Sequence[OrderEvent]]) -> list[OrderEvent]:
    """All events in one sequence: each order's in its own, the orders mixed."""
    turns = [number for number, events in enumerate(of_orders) for _ in events]
    chance.shuffle(turns)
    remaining = [iter(events) for events in of_orders]
    return [next(remaining[number]) for number in turns]
