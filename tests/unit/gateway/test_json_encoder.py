"""The gateway's JSON is that of `google.protobuf.json_format`, letter for letter."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from stateset.common.v1.event_metadata_pb2 import EventMetadata

from sync.gateway.json_encoder import json_of_field, json_of_message
from sync.gateway.json_text import json_text
from sync.gateway.main import FILES
from tests.harness.gateway_contract import SHELVES
from tests.harness.messages import EVERYTHING, messages


def kinds_of(*files: FileDescriptor) -> Iterator[Descriptor]:
    for file in files:
        yield from file.message_types_by_name.values()
        yield from kinds_of(*(each for each in file.dependencies if not each.package.startswith("google")))


KINDS = sorted(
    {kind.full_name: kind for files in FILES.values() for kind in kinds_of(*files)}.values(),
    key=lambda kind: kind.full_name,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.full_name)
@given(data=st.data())
@settings(max_examples=10)
def test_every_message_of_the_contracts_is_spelled_as_protobuf_spells_it(kind: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert json_of_message(message) == json_text(MessageToDict(message))


@pytest.mark.parametrize("kind", [EVERYTHING, status_pb2.Status.DESCRIPTOR, error_details_pb2.ErrorInfo.DESCRIPTOR])
@given(data=st.data())
def test_so_is_whatever_a_contract_may_say_one_day(kind: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert json_of_message(message) == json_text(MessageToDict(message))


@given(messages(SHELVES.methods[0].output_type))
def test_a_field_alone_is_spelled_as_it_is_within_its_message(message: Message) -> None:
    whole = MessageToDict(message)
    for field in message.DESCRIPTOR.fields:
        nothing = "[]" if field.is_repeated else "{}" if field.message_type else "null"
        alone = json_of_field(message, field.name)
        assert alone == (json_text(whole[field.json_name]) if field.json_name in whole else nothing)


@pytest.mark.parametrize("time", [Timestamp(nanos=-1), Timestamp(nanos=1_000_000_000), Timestamp(seconds=1 << 40)])
def test_a_time_that_is_none_is_not_spelled(time: Timestamp) -> None:
    with pytest.raises(ValueError, match="Timestamp"):
        json_of_message(EventMetadata(record_time=time))
