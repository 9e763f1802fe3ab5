"""Where a partition goes on: its last record knows best, then the cursor, if it is of the same topic."""

import pytest

from infra.runtime.kafka.headers import Place
from order.adapters.kafka_publisher import goes_on_at
from order.application.relay_ports import Cursor

KEPT = Cursor(topic_id="this", next_seq=40)


@pytest.mark.parametrize(
    ("last", "kept", "topic_id", "expected"),
    [
        (Place(seq=99, log_epoch="e"), KEPT, "this", 100),
        (Place(seq=9, log_epoch="e"), KEPT, "this", 10),
        (Place(seq=99, log_epoch="e"), None, "this", 100),
        (None, KEPT, "this", 40),
        (None, KEPT, "another", 7),
        (None, None, "this", 7),
    ],
)
def test_a_partition_goes_on_behind_what_it_has(
    last: Place | None, kept: Cursor | None, topic_id: str, expected: int
) -> None:
    assert expected == goes_on_at(last, kept, topic_id, earliest=7)
