"""Whether a reader notices that it holds something else than the server."""

from collections.abc import Mapping

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import Digest
from stateset_client import Verifier

from infra.kernel.digest import Digest as Expected

EVENTS = [
    OrderEvent(order_id="a", version=1, shard=0, seq=1),
    OrderEvent(order_id="b", version=1, shard=1, seq=1),
    OrderEvent(order_id="a", version=2, shard=0, seq=2),
    OrderEvent(order_id="c", version=1, shard=1, seq=2),
    OrderEvent(order_id="a", version=3, shard=0, seq=3),
]


def digest(versions: Mapping[str, int], *next_seq: int) -> Digest:
    expected = Expected()
    for order_id, version in versions.items():
        expected.add(order_id, version)
    return Digest(at=Position(next_seq=next_seq), count=expected.count, hash=expected.hash)


@pytest.mark.parametrize(
    "proof",
    [
        digest({"a": 3, "b": 1, "c": 1}, 4, 3),
        digest({"a": 2, "b": 1, "c": 1}, 3, 3),
        digest({"a": 1}, 2, 1),
        digest({"b": 1, "c": 1}, 1, 3),
        digest({}, 1, 1),
    ],
)
def test_a_reader_goes_back_to_the_place_of_the_digest(proof: Digest) -> None:
    verifier = Verifier()
    verifier.add_events(EVENTS)
    assert verifier.agrees(proof) is True


def test_a_lost_event_is_noticed_wherever_the_reader_stands() -> None:
    for lost in (1, 3, 4):
        verifier = Verifier()
        verifier.add_events(EVENTS[:lost] + EVENTS[lost + 1 :])
        assert verifier.agrees(digest({"a": 3, "b": 1, "c": 1}, 4, 3)) is False


def test_what_comes_again_changes_nothing() -> None:
    verifier = Verifier()
    verifier.add_events([*EVENTS, *EVENTS])
    assert verifier.agrees(digest({"a": 1, "b": 1}, 2, 2)) is True


def test_who_begins_with_orders_goes_on_with_events() -> None:
    stored = Verifier({"a": 2, "b": 1})
    snapshot = Verifier()
    snapshot.add_orders([Order(order_id="a", version=2), Order(order_id="b", version=1)])
    for verifier in (stored, snapshot):
        verifier.add_events(EVENTS)
        assert verifier.agrees(digest({"a": 3, "b": 1, "c": 1}, 4, 3)) is True
        assert verifier.agrees(digest({"a": 2, "b": 1}, 3, 2)) is True


def test_a_place_that_history_does_not_reach_cannot_be_told() -> None:
    verifier = Verifier(history_events_max=2)
    verifier.add_events(EVENTS)
    assert verifier.agrees(digest({"a": 1}, 2, 1)) is None
    assert verifier.agrees(digest({"a": 2, "b": 1}, 3, 2)) is True
