"""Which events were sent before the server knew that an earlier one of their order comes again or is set aside."""

from typing import NamedTuple

from stateset.order.v1.order_event_pb2 import OrderEvent


class Cover(NamedTuple):
    """Of one order: what is behind `seq` and was in the first `arrivals` batches comes again, or is parked."""

    seq: int
    arrivals: int


class Covers:
    """One cover an order, for as long as it may hide something."""

    def __init__(self) -> None:
        self._covers: dict[str, Cover] = {}

    def begin(self, event: OrderEvent, arrivals: int) -> None:
        """The event's RETRY or PARK_KEY was committed when so many batches had arrived."""
        self._covers[event.order_id] = Cover(event.seq, arrivals)

    def hides(self, event: OrderEvent, arrival: int) -> bool:
        """Whether the event of a batch is covered; the event itself, or what came later, ends its order's cover.

        An earlier event may stand between those that are covered: it was parked by itself and is replayed.
        """
        cover = self._covers.get(event.order_id)
        if cover is None:
            return False
        if event.seq != cover.seq and arrival <= cover.arrivals:
            return cover.seq < event.seq
        del self._covers[event.order_id]
        return False

    def clear(self) -> None:
        """The stream is another: nothing that it sends was sent too early."""
        self._covers.clear()
