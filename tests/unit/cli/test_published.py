from collections.abc import Mapping
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.event_metadata_pb2 import EventMetadata
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order

from consumers.cli.demo.log_reader import Reading
from consumers.cli.demo.published import EventsTopic, StateTopic
from consumers.cli.demo.records import Record
from infra.kernel.digest import Digest
from infra.kernel.position import Position

EPOCH = "0b8f3c52-6f0e-4b57-9a55-5f2d1c9e8a11"
AT_MS = 1_795_426_200_123
STATE_HEADERS = {"content-type": "application/protobuf", "ce_sequence": f"{1:020}", "ce_logepoch": EPOCH}
EVENT_HEADERS = {
    **STATE_HEADERS,
    "ce_specversion": "1.0",
    "ce_id": "e-1",
    "ce_source": "//order.stateset.dev",
    "ce_type": "stateset.order.v1.OrderPlaced",
    "ce_time": "2017-01-01T11:53:26.000000Z",
    "ce_subject": "orders/o-1",
    "ce_dataschema": "proto:stateset.order.v1.OrderEvent",
    "ce_partitionkey": "o-1",
    "ce_groupindex": "0",
    "ce_groupsize": "1",
}


def at(milliseconds: int) -> Timestamp:
    made = Timestamp()
    made.FromMilliseconds(milliseconds)
    return made


def placed(traceparent: str = "") -> OrderEvent:
    metadata = EventMetadata(
        event_id="e-1",
        type="stateset.order.v1.OrderPlaced",
        source="//order.stateset.dev",
        log_epoch=EPOCH,
        occur_time=at(1_483_271_606_000),
        record_time=at(AT_MS),
        traceparent=traceparent,
        group_size=1,
    )
    return OrderEvent(metadata=metadata, order_id="o-1", version=1, shard=0, seq=1)


def event_record(event: OrderEvent, headers: Mapping[str, str] = EVENT_HEADERS) -> Record:
    return Record(partition=0, key="o-1", value=event.SerializeToString(), headers=headers, timestamp_ms=AT_MS)


def state_record(order_id: str, version: int, seq: int) -> Record:
    order = Order(order_id=order_id, version=version, update_time=at(AT_MS))
    headers = {**STATE_HEADERS, "ce_sequence": f"{seq:020}"}
    return Record(partition=0, key=order_id, value=order.SerializeToString(), headers=headers, timestamp_ms=AT_MS)


def faults_of_event(record: Record) -> list[str]:
    topic = EventsTopic(Reading((2,)))
    topic.take(record)
    return topic.faults.first


def states(*records: Record) -> StateTopic:
    topic = StateTopic(Position(log_epoch=EPOCH, next_seq=(4,)))
    for record in records:
        topic.take(record)
    return topic


def without(name: str) -> dict[str, str]:
    return {each: value for each, value in EVENT_HEADERS.items() if each != name}


def test_a_record_as_the_contract_has_it_has_no_fault() -> None:
    assert faults_of_event(event_record(placed())) == []


def test_an_instant_may_be_written_in_every_way_of_rfc_3339() -> None:
    for text in ("2017-01-01T11:53:26Z", "2017-01-01T12:53:26.000+01:00"):
        assert faults_of_event(event_record(placed(), {**EVENT_HEADERS, "ce_time": text})) == []


def test_the_trace_travels_where_there_is_one_and_only_there() -> None:
    traced = {**EVENT_HEADERS, "ce_traceparent": "00-aa-bb-01"}
    assert faults_of_event(event_record(placed("00-aa-bb-01"), traced)) == []
    assert len(faults_of_event(event_record(placed("00-aa-bb-01")))) == 1
    assert len(faults_of_event(event_record(placed(), traced))) == 1


@pytest.mark.parametrize("name", sorted(EVENT_HEADERS))
def test_a_header_that_is_missing_or_says_something_else_is_noticed(name: str) -> None:
    [missing] = faults_of_event(event_record(placed(), without(name)))
    [other] = faults_of_event(event_record(placed(), {**EVENT_HEADERS, name: "other"}))
    assert missing.startswith(f"shard 0, seq 1: {name} nothing came where ")
    assert other.startswith(f"shard 0, seq 1: {name} other came where ")


@pytest.mark.parametrize("change", [{"partition": 1}, {"key": "o-2"}, {"timestamp_ms": AT_MS + 1}])
def test_another_place_or_time_than_the_events_is_noticed(change: Mapping[str, int | str]) -> None:
    assert len(faults_of_event(replace(event_record(placed()), **change))) == 1  # type: ignore[arg-type]  # of one field each


def test_the_last_record_of_a_key_is_the_order() -> None:
    topic = states(state_record("o-1", 1, 1), state_record("o-2", 1, 2), state_record("o-1", 2, 3))
    due = Digest()
    due.add("o-1", 2)
    due.add("o-2", 1)
    assert (topic.digest, topic.faults.first, topic.has_all_of(0)) == (due, [], True)


def test_states_may_be_compacted_away_but_do_not_go_back() -> None:
    assert states(state_record("o-2", 1, 1), state_record("o-1", 2, 3)).faults.count == 0
    assert states(state_record("o-1", 2, 3), state_record("o-2", 1, 1)).faults.count == 1


def test_a_partition_has_all_when_its_last_record_is_that_of_the_logs_last_event() -> None:
    assert not states(state_record("o-1", 1, 1), state_record("o-1", 2, 2)).has_all_of(0)
    assert states(state_record("o-1", 2, 3)).has_all_of(0)


def test_a_state_of_another_log_is_noticed() -> None:
    record = state_record("o-1", 1, 1)
    topic = states(replace(record, headers={**record.headers, "ce_logepoch": "other"}))
    assert topic.faults.first == [f"o-1, version 1: ce_logepoch other came where {EPOCH} was due"]
