"""The Python client of docs/streaming.md, which knows the contracts and nothing of ours, runs as it is printed."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1 import order_frame_pb2
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1 import stream_pb2

from sync.adapters.memory import MemorySubscriptions
from sync.domain.subscription import SubscriptionKey
from tests.harness.ports import free_address
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually, eventually_async

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "streaming.md"
KEY = SubscriptionKey(principal="local", name="s-1")
RETRY_SECONDS = 5  # what a server without room for another stream asks for
NOT_OF_STREAMS = {"BUS_UNAVAILABLE", "INVALID_REQUEST", "ORDER_NOT_FOUND", "SUBSCRIPTION_NOT_FOUND"}


@pytest.fixture(scope="module")
def client() -> dict[str, Any]:
    """What the program defines."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {"__name__": "streaming"}
    exec(compile(block[1], str(PAGE), "exec"), names)  # noqa: S102 - our own text
    return names


class Reading:
    """What a subscriber has applied."""

    def __init__(self, wanted: int) -> None:
        self.events: list[OrderEvent] = []
        self._wanted = wanted

    def __call__(self, events: list[OrderEvent], position: Position) -> bool:
        assert position.next_seq
        self.events += events
        return len(self.events) >= self._wanted


async def test_it_reads_on_at_another_server_when_one_leaves_and_acks_everything(client: dict[str, Any]) -> None:
    log, subscriptions, reading = LogMaker(), MemorySubscriptions(), Reading(1_530)
    addresses = [free_address(), free_address()]
    log.groups(1_500)
    async with AsyncExitStack() as servers:
        await servers.enter_async_context(
            open_server(log.source, subscriptions=subscriptions, grpc_address=addresses[1])
        )
        subscriber = client["Subscriber"]("s-1", reading)
        async with open_server(log.source, subscriptions=subscriptions, grpc_address=addresses[0]):
            running = asyncio.create_task(subscriber.run(addresses), name="subscriber")
            await eventually(lambda: len(reading.events) == 1_500)
        log.groups(30)
        async with asyncio.timeout(30):
            await running

        async def acked() -> bool:
            stored = await subscriptions.find(KEY)
            return stored is not None and all(
                stored.next_seq(shard) == seq for shard, seq in enumerate(log.position.next_seq)
            )

        await eventually_async(acked)
    assert {event.seq for event in log.events} == {event.seq for event in reading.events}
    for shard in range(log.shards):
        seqs = [event.seq for event in reading.events if event.shard == shard]
        assert seqs == list(range(1, log.position.next_seq[shard]))


async def test_it_ends_well_when_it_has_had_enough_though_more_is_on_its_way(client: dict[str, Any]) -> None:
    log, address = LogMaker(), free_address()
    log.groups(3_000)
    async with open_server(log.source, grpc_address=address), asyncio.timeout(60):
        for number in range(10):
            reading = Reading(10)
            await client["Subscriber"](f"s-{number}", reading).run([address])
            assert 10 <= len(reading.events) < 3_000


async def test_it_stops_at_a_position_that_cannot_be_served(client: dict[str, Any]) -> None:
    log, address = LogMaker(), free_address()
    for position, reason in (
        (Position(log_epoch="another", next_seq=[1, 1, 1]), "LOG_EPOCH_CHANGED"),
        (Position(log_epoch=log.log_epoch, next_seq=[1, 9, 1]), "POSITION_AHEAD"),
    ):
        async with open_server(log.source, grpc_address=address):
            subscriber = client["Subscriber"]("s-1", Reading(1), position)
            with pytest.raises(client["Stop"], match=reason):
                await asyncio.wait_for(subscriber.run([address]), 30)


async def test_it_stops_once_another_stream_has_taken_over(client: dict[str, Any]) -> None:
    log, address = LogMaker(), free_address()
    log.groups(5)
    reading = Reading(1_000)
    async with open_server(log.source, grpc_address=address) as other:
        subscriber = client["Subscriber"]("s-1", reading)
        running = asyncio.create_task(subscriber.run([address]), name="subscriber")
        await eventually(lambda: len(reading.events) == 5)
        newer = await other.subscribe(stream_pb2.Open(subscription="s-1"))
        await newer.until("opened")
        log.groups(1)
        with pytest.raises(client["Stop"], match="taken over"):
            await asyncio.wait_for(running, 30)


async def test_it_comes_back_after_the_delay_that_a_full_server_names(client: dict[str, Any]) -> None:
    log, address = LogMaker(), free_address()
    async with open_server(log.source, grpc_address=address, streams_max=1) as other:
        await (await other.subscribe(stream_pb2.Open())).until("opened")
        subscriber = client["Subscriber"]("s-1", Reading(1))
        running = asyncio.create_task(subscriber.run([address]), name="subscriber")
        await eventually(lambda: subscriber.wait_seconds >= RETRY_SECONDS)
        assert not running.done()
        running.cancel()


def test_every_reason_of_a_stream_is_in_the_table_or_a_mistake() -> None:
    table = PAGE.read_text().split("## Which errors to try again")[1].split("\n\n")[1]
    code = (ROOT / "sync" / "adapters" / "grpc_status.py").read_text()
    reasons = {*re.findall(r'reason="([A-Z_]+)"', code), "STORE_UNAVAILABLE", "LOG_EPOCH_CHANGED", "LOG_HOLE"}
    assert sorted(reason for reason in reasons - NOT_OF_STREAMS if reason not in table) == []


def test_every_frame_of_the_server_is_in_the_table() -> None:
    table = PAGE.read_text().split("## What to do with each frame")[1].split("\n\n")[1]
    frames = order_frame_pb2.ServerFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
    assert [frame.name for frame in frames if f"`{frame.name}`" not in table] == []
