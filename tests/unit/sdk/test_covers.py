"""What was sent too early is hidden by when it came, wherever in the log it lies."""

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client.covers import Covers


def event(seq: int, order_id: str = "o-1") -> OrderEvent:
    return OrderEvent(order_id=order_id, shard=0, seq=seq)


def test_later_events_of_the_order_are_hidden_if_they_came_before_the_answer_and_no_longer() -> None:
    covers = Covers()
    covers.begin(event(5), arrivals=3)
    assert not covers.hides(event(9, "o-2"), arrival=2)
    assert covers.hides(event(90), arrival=3)
    assert not covers.hides(event(9), arrival=4)
    assert not covers.hides(event(9), arrival=3), "the cover has ended"


def test_the_event_itself_ends_its_cover_when_it_comes_again() -> None:
    covers = Covers()
    covers.begin(event(5), arrivals=3)
    assert not covers.hides(event(5), arrival=2)
    assert not covers.hides(event(6), arrival=2)


def test_an_earlier_event_that_is_replayed_amid_what_is_hidden_is_not_and_reveals_nothing() -> None:
    covers = Covers()
    covers.begin(event(5), arrivals=3)
    assert not covers.hides(event(2), arrival=2)
    assert covers.hides(event(6), arrival=2)
    assert not covers.hides(event(6), arrival=4)
