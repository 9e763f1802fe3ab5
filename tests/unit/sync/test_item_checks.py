"""What the items of an ack may be."""

import pytest
from stateset.stream.v1 import stream_pb2

from infra.runtime.grpc.status import InvalidRequestError
from sync.adapters.checked import Checked
from sync.adapters.wire_parking import ack_items


def test_items_that_are_too_many_are_refused_unread() -> None:
    checked = Checked()
    assert ack_items(stream_pb2.Ack(items=[stream_pb2.AckItem()] * 1_001), checked) == ()
    with pytest.raises(InvalidRequestError) as refused:
        checked.done()
    assert [violation.field for violation in refused.value.violations] == ["frame.ack.items"]
