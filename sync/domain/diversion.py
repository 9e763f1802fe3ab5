"""Events that follow their order into the parking place: nobody is told that they are passed before they are there.

Pure.
"""

from sync.domain.lines import Delivery, Lines, State
from sync.domain.parking import Marks
from sync.domain.ring import PassingEvent
from sync.domain.settlement import Changes


class Diversion:
    """What a stream has passed of orders that are parked as a whole.

    Attributes:
        under_way: Whether it is on its way into the parking place.

    Args:
        lines: What is not finished.
        marks: What is parked.
    """

    def __init__(self, lines: Lines, marks: Marks) -> None:
        self.under_way = False
        self._lines = lines
        self._marks = marks
        self._events: list[Delivery] = []

    @property
    def waits(self) -> bool:
        """Whether something is still to be set aside."""
        return bool(self._events)

    def takes(self, event: PassingEvent) -> bool:
        """Whether the event follows its order: not if what is parked of it has been sent again."""
        span = self._marks.span(event.order_id)
        if span is None or event.seq <= span[0]:
            return False
        last = self._lines.events.get((event.shard, span[1]))
        if last is None or last.state is State.PARKING:
            return True
        return last.state is State.WAITING and not self._lines.of(last).retrying

    def take(self, delivery: Delivery) -> None:
        """The event is to be set aside."""
        self._lines.of(delivery).turn(delivery, State.PARKING)
        self._events.append(delivery)

    def begin(self, now_us: int) -> Changes:
        """What is to be made durable; `end` or `fail` is to follow."""
        self.under_way = True
        changes = Changes()
        for each in self._events:
            changes.park(each.park(now_us, whole_order=True, replaying=self._comes_back(each.event)))
        return changes

    def end(self) -> None:
        """It is durable."""
        self.under_way = False
        for each in self._events:
            self._marks.add(each.mark(whole_order=True, replaying=self._comes_back(each.event)))
            self._lines.forget(each)
        self._events = []

    def fail(self) -> None:
        """There was no room: it is to be tried again."""
        self.under_way = False

    def give_up(self, now: float) -> None:
        """What was to follow an order that is not parked waits in its line."""
        came, self._events = self._events, []
        for each in came:
            if self.takes(each.event):
                self._events.append(each)
                continue
            line = self._lines.of(each)
            line.turn(each, State.WAITING)
            if not line.retrying:
                self._lines.schedule(line, now)

    def _comes_back(self, event: PassingEvent) -> bool:
        """Whether what the event follows is on its way back, or there no more."""
        span = self._marks.span(event.order_id)
        return span is None or event.seq <= span[0] or self._marks.replays(event.shard, span[1])
