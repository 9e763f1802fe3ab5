"""Checkpoints of many subscriptions in one call, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import grpc.aio
import pytest
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.runtime.grpc import call
from infra.runtime.grpc.wire import position_to_wire
from tests.harness.sync_client import PLENTY, Client, open_server, refusal_of
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually


async def opened(client: Client, name: str) -> int:
    """Opens the subscription; its delivery epoch."""
    stream = await client.subscribe(stream_pb2.Open(subscription=name, credit=PLENTY))
    return int((await stream.until("opened")).delivery_epoch)


async def put(client: Client, checkpoints: Sequence[sync.PutCheckpointsRequest]) -> sync.PutCheckpointsResponse:
    def said() -> Iterator[sync.PutCheckpointsRequest]:
        yield from checkpoints

    reply: sync.PutCheckpointsResponse = await client.stub.PutCheckpoints(said(), timeout=20)
    return reply


async def floor_of(client: Client, name: str) -> list[int]:
    found = await client.stub.GetSubscription(sync.GetSubscriptionRequest(name=name))
    return list(found.subscription.floor.next_seq)


def checkpoint(name: str, epoch: int, through: position_pb2.Position) -> sync.PutCheckpointsRequest:
    return sync.PutCheckpointsRequest(name=name, delivery_epoch=epoch, through=through)


async def test_checkpoints_of_many_subscriptions_are_durable_when_the_call_returns() -> None:
    log = LogMaker()
    log.groups(30)
    end = position_to_wire(log.position)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        names = [f"s-{number}" for number in range(5)]
        epochs = {name: await opened(client, name) for name in names}
        await opened(client, "s-0")  # supersedes the first opening
        one = position_pb2.Position(log_epoch=log.log_epoch, next_seq=[0, 2, 0])
        said = [checkpoint(name, epochs[name], each) for name in names for each in (one, end, end)]
        reply = await put(client, said)
        assert (reply.committed, reply.already, reply.fenced) == (8, 4, 3)
        assert list(reply.fenced_names) == ["s-0"]
        assert await floor_of(client, "s-0") == [1, 1, 1]
        assert await floor_of(client, "s-4") == list(end.next_seq)
        assert (await put(client, [])).committed == 0


async def test_what_was_reached_under_another_filter_moves_no_floor() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        opening = stream_pb2.Open(subscription="s", filter="customer_id = c-1", credit=PLENTY)
        stream = await client.subscribe(opening)
        epoch = (await stream.until("opened")).delivery_epoch
        other = position_to_wire(log.position._replace(filter_hash=b"another"))
        ack = sync.AckSubscriptionRequest(subscription="s", delivery_epoch=epoch, through=other)
        for said in (client.stub.AckSubscription(ack), put(client, [checkpoint("s", epoch, other)])):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await said
            assert refusal_of(raised.value)[:2] == (StatusCode.INVALID_ARGUMENT, "POSITION_FILTER_MISMATCH")
        assert await floor_of(client, "s") == [1, 1, 1]
        await stream.say(ack=stream_pb2.Ack(ack_id="a", through=other))
        assert (await stream.refusal())[:2] == (StatusCode.INVALID_ARGUMENT, "POSITION_FILTER_MISMATCH")


async def test_the_first_checkpoint_that_is_refused_ends_the_call_whatever_its_caller_goes_on_to_say() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        epoch = await opened(client, "s")
        other = position_to_wire(log.position._replace(filter_hash=b"another"))

        async def said(count: int) -> AsyncIterator[sync.PutCheckpointsRequest]:
            for _ in range(count):
                yield checkpoint("s", epoch, other)
            await asyncio.Event().wait()

        for count in (1, 10**9):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await client.stub.PutCheckpoints(said(count), timeout=20)
            assert refusal_of(raised.value)[:2] == (StatusCode.INVALID_ARGUMENT, "POSITION_FILTER_MISMATCH")


async def test_a_call_without_a_deadline_is_given_one_however_long_its_caller_has_something_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call, "DEADLINE_SECONDS", 0.2)
    log = LogMaker()
    async with open_server(log.source) as client:
        epoch = await opened(client, "s")

        async def said() -> AsyncIterator[sync.PutCheckpointsRequest]:
            while True:
                yield checkpoint("s", epoch, position_to_wire(log.earliest))

        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.PutCheckpoints(said())
        assert refusal_of(raised.value)[:2] == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


async def test_who_was_superseded_is_fenced_whatever_filter_it_had() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        old = await opened(client, "s")
        new = await opened(client, "s")
        other = position_to_wire(log.position._replace(filter_hash=b"another"))
        said = [checkpoint("s", old, other), checkpoint("s", new, position_to_wire(log.position))]
        reply = await put(client, said)
    assert (reply.fenced, reply.committed) == (1, 1)


async def test_a_checkpoint_ahead_of_what_is_known_is_not_refused_while_the_log_cannot_be_asked() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed is not None)
        log.source.available = False
        ahead = position_pb2.Position(log_epoch=log.log_epoch, next_seq=[9, 1, 1])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await put(client, [checkpoint("s", 1, ahead)])
        assert refusal_of(raised.value)[:2] == (StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE")


@pytest.mark.parametrize(
    ("name", "log_epoch", "next_seq", "code", "reason"),
    [
        ("s", "another", [1, 1, 1], StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED"),
        ("s", "", [1, 1], StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED"),
        ("s", "", [99, 1, 1], StatusCode.FAILED_PRECONDITION, "POSITION_AHEAD"),
        ("", "", [1, 1, 1], StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_checkpoint_that_no_state_could_make_right_ends_the_call(
    name: str, log_epoch: str, next_seq: list[int], code: StatusCode, reason: str
) -> None:
    log = LogMaker()
    through = position_pb2.Position(log_epoch=log_epoch or log.log_epoch, next_seq=next_seq)
    async with open_server(log.source) as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await put(client, [checkpoint(name, 1, through)])
        assert refusal_of(raised.value)[:2] == (code, reason)
