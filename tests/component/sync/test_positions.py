"""One place in its four forms, over real gRPC."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.runtime.grpc.wire import position_from_wire, position_to_wire, timestamp_from_wire, timestamp_to_wire
from infra.runtime.topics import EVENTS
from sync.adapters.memory import MemorySource
from sync.adapters.memory_offsets import MemoryOffsets
from tests.harness.sync_client import Client, open_server, refusal_of
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

SECOND_US = 1_000_000


def a_log() -> LogMaker:
    """A command in each of a hundred seconds."""
    log = LogMaker()
    for second in range(100):
        log.group(size=2, record_time_us=second * SECOND_US)
    return log


@asynccontextmanager
async def on_kafka(log: LogMaker) -> AsyncIterator[Client]:
    offsets = MemoryOffsets(EVENTS.base_name, log.shards)
    for shard, next_seq in enumerate(log.position.next_seq):
        offsets.publish(shard, range(1, next_seq))
    async with open_server(log.source, offsets=offsets) as client:
        yield client


def wire(*next_seq: int, log: LogMaker) -> position_pb2.Position:
    return position_pb2.Position(log_epoch=log.log_epoch, next_seq=next_seq, filter_hash=b"12345678")


async def refused(client: Client, **at: object) -> tuple[StatusCode, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.stub.ResolvePosition(sync.ResolvePositionRequest(**at))  # type: ignore[arg-type]  # any of the forms
    return refusal_of(raised.value)


async def test_each_form_of_a_place_leads_to_the_others() -> None:
    log = a_log()
    async with on_kafka(log) as client:
        at = wire(7, 9, 11, log=log)
        found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=at))
        assert found.position == at
        assert found.kafka == sync.KafkaOffsets(topic=EVENTS.base_name, next_offset=[6, 8, 10])
        assert found == await client.stub.ResolvePosition(sync.ResolvePositionRequest(token=found.token))
        back = await client.stub.ResolvePosition(sync.ResolvePositionRequest(kafka=found.kafka))
        assert (list(back.position.next_seq), back.kafka) == ([7, 9, 11], found.kafka)
        assert back.time == found.time


async def test_a_stream_from_the_time_leaves_nothing_out_that_comes_behind_the_position() -> None:
    log = a_log()
    async with open_server(log.source) as client:
        for next_seqs in ((7, 9, 11), (31, 2, 5), log.position.next_seq, (0, 5, 0)):
            at = wire(*next_seqs, log=log)
            found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=at))
            stream = client.stream_events(stream_pb2.Open(start=stream_pb2.Start(time=found.time)))
            starts = (await stream.until("opened")).position.next_seq
            assert all(start <= seq for start, seq in zip(starts, at.next_seq, strict=True) if seq)
            stream.call.cancel()


async def test_the_time_is_that_of_the_first_event_to_come() -> None:
    log = a_log()
    times = {(batch.shard, event.seq): event.record_time_us for batch in log.batches for event in batch.events}
    async with open_server(log.source) as client:
        found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=wire(7, 9, 11, log=log)))
        assert timestamp_from_wire(found.time) == min(times[0, 7], times[1, 9], times[2, 11])


async def test_at_the_head_it_is_the_time_since_which_nothing_can_be_missing() -> None:
    log = LogMaker()
    source = MemorySource(log.log_epoch, log.shards)
    source.append(log.group(record_time_us=5 * SECOND_US), now_us=60 * SECOND_US)
    async with open_server(source) as client:
        head = position_to_wire(log.position)
        found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=head))
        assert timestamp_from_wire(found.time) == 50 * SECOND_US  # what is being committed has its time already


async def test_a_time_is_a_position() -> None:
    log = a_log()
    async with open_server(log.source) as client:
        asked = sync.ResolvePositionRequest(time=timestamp_to_wire(30 * SECOND_US))
        found = await client.stub.ResolvePosition(asked)
        assert await log.source.position_at(30 * SECOND_US) == position_from_wire(found.position)
        assert timestamp_from_wire(found.time) == 30 * SECOND_US


async def test_without_kafka_there_are_no_offsets_and_none_are_understood() -> None:
    log = a_log()
    async with open_server(log.source) as client:
        found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=wire(7, 9, 11, log=log)))
        assert not found.HasField("kafka")
        told = await refused(client, kafka=sync.KafkaOffsets(next_offset=[0, 0, 0]))
        assert told == (StatusCode.FAILED_PRECONDITION, "NO_BUS", [])


async def test_a_place_that_there_is_not_is_refused() -> None:
    log = a_log()
    other = position_pb2.Position(log_epoch="another", next_seq=[1, 1, 1])
    invalid, failed, expired = StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION, StatusCode.OUT_OF_RANGE
    async with on_kafka(log) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        log.source.trim(1, 5)
        assert await refused(client) == (invalid, "INVALID_REQUEST", ["at"])
        assert await refused(client, time=Timestamp(seconds=2**62)) == (invalid, "INVALID_REQUEST", ["time"])
        assert await refused(client, token="nonsense!") == (invalid, "POSITION_MALFORMED", [])  # noqa: S106 - of a position
        assert await refused(client, position=wire(1, 9, log=log)) == (invalid, "POSITION_MALFORMED", [])
        assert await refused(client, position=wire(0, 0, 0, log=log)) == (invalid, "POSITION_MALFORMED", [])
        assert await refused(client, position=wire(1, 4, 1, log=log)) == (expired, "POSITION_EXPIRED", [])
        assert await refused(client, position=wire(1, 999, 1, log=log)) == (failed, "POSITION_AHEAD", [])
        assert await refused(client, position=other) == (failed, "LOG_EPOCH_CHANGED", [])
        offsets = [sync.KafkaOffsets(next_offset=each) for each in ((0, 0), (0, 999, 0), (0, 2, 0))]
        assert await refused(client, kafka=offsets[0]) == (invalid, "POSITION_MALFORMED", [])
        assert await refused(client, kafka=offsets[1]) == (failed, "POSITION_AHEAD", [])
        assert await refused(client, kafka=offsets[2]) == (expired, "POSITION_EXPIRED", [])
        elsewhere = sync.KafkaOffsets(topic="payments", next_offset=[0, 0, 0])
        assert await refused(client, kafka=elsewhere) == (invalid, "POSITION_MALFORMED", [])


async def test_a_log_that_cannot_be_asked_is_unavailable() -> None:
    log = a_log()
    async with open_server(log.source) as client:
        log.source.available = False
        told = await refused(client, position=wire(7, 9, 11, log=log))
        assert told == (StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", [])
