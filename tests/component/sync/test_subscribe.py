"""Durable subscriptions and credit over real gRPC, on a log in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position
from infra.runtime.sql import open_database
from sync.adapters.memory import MemorySource, MemorySubscriptions
from sync.adapters.sql_read_model import SqlReadModel
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.domain.log import Batch
from sync.domain.settlement import Settlement
from sync.domain.subscription import Ack, AckOutcome
from tests.harness.sync_client import PLENTY, Client, Stream, open_server, start_at
from tests.harness.sync_log import LogMaker, orders_of
from tests.harness.waiting import eventually

ALL = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
STORED = stream_pb2.Start(point=stream_pb2.START_POINT_STORED)
MIGRATIONS = Path("sync/migrations")
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))  # else megabytes are under way


class HeldReads(MemorySource):
    """Reads single shards only once it is let.

    Attributes:
        asked: Set once it is asked to.
        free: Lets it.
    """

    def __init__(self, log_epoch: str, shards: int) -> None:
        super().__init__(log_epoch, shards)
        self.asked = asyncio.Event()
        self.free = asyncio.Event()

    async def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        if len(shards) == 1:
            self.asked.set()
            await self.free.wait()
        async for batch in super().read(start, shards):
            yield batch


class HeldSubscriptions(MemorySubscriptions):
    """Commits nothing until it is let.

    Attributes:
        free: Lets it.
        waiting: How many commits wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Event()
        self.waiting = 0

    async def commit(self, acks: Sequence[Ack | Settlement]) -> Sequence[AckOutcome]:
        self.waiting += 1
        await self.free.wait()
        return await super().commit(acks)


class CountedSubscriptions(MemorySubscriptions):
    """Counts the acks that it is given, by subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.acks: Counter[str] = Counter()

    async def commit(self, acks: Sequence[Ack | Settlement]) -> Sequence[AckOutcome]:
        self.acks.update(ack.key.name for ack in acks)
        return await super().commit(acks)


async def ack_all(stream: Stream, log: LogMaker, ack_id: str = "a-1") -> stream_pb2.AckResult:
    through = start_at(log.earliest.moved(stream.next_seqs)).position
    await stream.say(ack=stream_pb2.Ack(ack_id=ack_id, through=through))
    result: stream_pb2.AckResult = await stream.until("ack_result")
    assert result.ack_id == ack_id
    return result


async def subscribe(client: Client, start: stream_pb2.Start = STORED, name: str = "s-1") -> Stream:
    return await client.subscribe(stream_pb2.Open(subscription=name, start=start, credit=PLENTY))


async def test_a_stored_start_resumes_right_after_what_was_acked() -> None:
    log = LogMaker()
    log.groups(20)
    async with open_server(log.source) as client:
        first = await subscribe(client)
        await first.until_events(20)
        assert (await ack_all(first, log)).status == stream_pb2.ACK_STATUS_COMMITTED
        await first.say(close=stream_pb2.Close())
        while await first.next() is not None:
            pass
        log.groups(5)
        second = await subscribe(client)
        await second.until_events(5)
        assert [seq for shard, seqs in second.seqs().items() for seq in seqs if seq < first.next_seqs[shard]] == []


async def test_what_was_not_acked_comes_again() -> None:
    log = LogMaker()
    log.groups(20)
    async with open_server(log.source) as client:
        first = await subscribe(client)
        await first.until_events(20)
        first.call.cancel()
        second = await subscribe(client)
        await second.until_events(20)
        assert first.seqs() == second.seqs()


async def test_the_ack_of_a_superseded_stream_is_fenced_and_changes_nothing() -> None:
    log = LogMaker()
    log.groups(20)
    subscriptions = MemorySubscriptions()
    async with open_server(log.source, subscriptions=subscriptions) as client:
        older = await subscribe(client)
        await older.until_events(20)
        newer = await subscribe(client)
        await newer.until_events(20)
        assert newer.frames[0].opened.delivery_epoch > older.frames[0].opened.delivery_epoch
        result = await ack_all(older, log)
        assert result.status == stream_pb2.ACK_STATUS_FENCED
        assert list(result.floor.next_seq) == [1, 1, 1]
        assert (await ack_all(newer, log, "a-2")).status == stream_pb2.ACK_STATUS_COMMITTED
        assert (await ack_all(newer, log, "a-3")).status == stream_pb2.ACK_STATUS_ALREADY


async def test_committed_is_said_only_once_it_is_durable() -> None:
    log = LogMaker()
    log.groups(20)
    subscriptions = HeldSubscriptions()
    async with open_server(log.source, subscriptions=subscriptions) as client:
        stream = await subscribe(client)
        await stream.until_events(20)
        await stream.say(ack=stream_pb2.Ack(ack_id="a-1", through=start_at(log.position).position))
        await eventually(lambda: subscriptions.waiting == 1)
        log.groups(5)
        await stream.until_events(25)
        assert not any(frame.HasField("ack_result") for frame in stream.frames)
        subscriptions.free.set()
        assert (await stream.until("ack_result")).status == stream_pb2.ACK_STATUS_COMMITTED


async def test_acks_are_taken_only_as_fast_as_their_results_are_read_and_none_is_lost() -> None:
    log = LogMaker()
    log.groups(20)
    subscriptions = CountedSubscriptions()
    async with (
        open_server(log.source, subscriptions=subscriptions) as client,
        grpc.aio.insecure_channel(client.address, options=SMALL_WINDOW) as channel,
    ):
        flood, other = await subscribe(Client(channel), ALL), await subscribe(client, ALL, "s-2")
        await flood.until_events(20)
        await other.until_events(20)
        through = start_at(log.position).position
        ids = [f"{number:0>128}" for number in range(5_000)]

        async def send() -> None:
            for ack_id in ids:
                await flood.say(ack=stream_pb2.Ack(ack_id=ack_id, through=through))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            before = -1
            while before < 1_000 or subscriptions.acks["s-1"] != before:
                before = subscriptions.acks["s-1"]
                for _ in range(20):
                    await ack_all(other, log)
            assert before < 4_000, "what nobody reads fills the memory"
            assert [(await flood.until("ack_result")).ack_id for _ in ids] == ids


async def test_members_with_different_shards_do_not_fence_each_other() -> None:
    log = LogMaker()
    log.groups(20)
    async with open_server(log.source) as client:
        members = [
            await client.subscribe(stream_pb2.Open(subscription="s-1", start=ALL, shards=shards, credit=PLENTY))
            for shards in ([0], [1, 2])
        ]
        for member in members:
            await member.until_phase(stream_pb2.PHASE_LIVE)
        assert sum(len(member.events) for member in members) == 20
        for member in members:
            assert (await ack_all(member, log)).status == stream_pb2.ACK_STATUS_COMMITTED


async def test_an_ack_beyond_what_was_sent_is_refused() -> None:
    log = LogMaker()
    log.groups(20)
    async with open_server(log.source) as client:
        stream = await client.subscribe(
            stream_pb2.Open(subscription="s-1", credit=stream_pb2.Credit(events=3, bytes=1 << 20))
        )
        await stream.until_events(3)
        await stream.say(ack=stream_pb2.Ack(ack_id="a-1", through=start_at(log.position).position))
        code, reason, fields = await stream.refusal()
        assert (code, reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert fields == ["frame.ack.through.next_seq"]


async def test_an_ack_id_that_is_too_long_is_refused() -> None:
    log = LogMaker()
    log.groups(1)
    async with open_server(log.source) as client:
        stream = await subscribe(client, ALL)
        await stream.until_events(1)
        await stream.say(ack=stream_pb2.Ack(ack_id="a" * 129, through=start_at(log.position).position))
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.ack.ack_id"])


async def test_credit_beyond_all_numbers_is_as_much_as_there_can_be() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        most = stream_pb2.Credit(events=2**63 - 1, bytes=2**63 - 1)
        beats = Duration(nanos=500_000_000)
        stream = await client.subscribe(
            stream_pb2.Open(subscription="s-1", credit=stream_pb2.Credit(events=1, bytes=1), heartbeat_interval=beats)
        )
        await stream.say(credit=most)
        await stream.say(credit=most)
        log.groups(20)
        await stream.until_events(20)
        await stream.until("lag")


async def test_another_filter_under_the_same_name_is_refused() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        first = await subscribe(client)
        await first.until("opened")
        other = await client.subscribe(stream_pb2.Open(subscription="s-1", filter='customer_id = "c-2"', credit=PLENTY))
        code, reason, _ = await other.refusal()
        assert (code, reason) == (StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_FILTER_CHANGED")


async def test_one_subscription_too_many_is_refused() -> None:
    async with open_server(LogMaker().source, subscriptions=MemorySubscriptions(subscriptions_max=1)) as client:
        first = await subscribe(client)
        await first.until("opened")
        other = await client.subscribe(stream_pb2.Open(subscription="made-up", credit=PLENTY))
        assert await other.refusal() == (StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_SUBSCRIPTIONS", [])


async def test_a_reader_without_credit_gets_no_more_than_its_credit_and_goes_live_again_once_it_grants() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        slow = await client.subscribe(stream_pb2.Open(start=ALL, credit=stream_pb2.Credit(events=10, bytes=1 << 20)))
        fast = await client.subscribe(stream_pb2.Open(start=ALL, credit=PLENTY))
        await slow.until_phase(stream_pb2.PHASE_LIVE)
        log.groups(100)
        await fast.until_events(100)
        await slow.until_phase(stream_pb2.PHASE_BEHIND)
        await slow.until_events(10)
        assert len(slow.events) == 10
        await slow.say(credit=PLENTY)
        await slow.until_phase(stream_pb2.PHASE_LIVE)
        assert fast.seqs() == {shard: sorted(seqs) for shard, seqs in slow.seqs().items()}


async def test_a_reader_that_the_ring_has_left_behind_is_served_from_the_log_without_a_loss() -> None:
    log = LogMaker()
    async with open_server(log.source, ring_bytes_max=20_000) as client:
        slow = await client.subscribe(stream_pb2.Open(start=ALL, credit=stream_pb2.Credit(events=1, bytes=1 << 20)))
        await slow.until_phase(stream_pb2.PHASE_LIVE)
        fast = await client.subscribe(stream_pb2.Open(start=ALL, credit=PLENTY))
        for _ in range(10):
            log.groups(100, size=2, padding=100)
            await fast.until_events(len(log.events))
        await slow.say(credit=PLENTY)
        await slow.until_phase(stream_pb2.PHASE_LIVE)
        assert fast.seqs() == slow.seqs()
        assert all(seqs == sorted(set(seqs)) for seqs in slow.seqs().values())
        log.groups(5)
        await slow.until_events(len(log.events))


async def test_a_reader_that_the_ring_leaves_behind_in_one_shard_while_it_is_fed_another_is_fed_that_one_next() -> None:
    log = LogMaker(2)
    log.source = HeldReads(log.log_epoch, log.shards)
    async with open_server(log.source, ring_bytes_max=20_000) as client:
        slow = await client.subscribe(stream_pb2.Open(start=ALL, credit=stream_pb2.Credit(events=1, bytes=1 << 20)))
        await slow.until_phase(stream_pb2.PHASE_LIVE)
        for shard in range(log.shards):
            for order_id in islice(orders_of(shard, log.shards), 200):
                log.group(order_id, padding=100)
            await eventually(lambda: log.source.confirmed == log.position)
            if shard == 0:
                await slow.say(credit=PLENTY)
                await log.source.asked.wait()
        log.source.free.set()
        await slow.until_events(len(log.events))
        assert slow.seqs() == {shard: list(range(1, 201)) for shard in range(log.shards)}


async def test_credit_is_granted_again_and_again_through_a_long_log() -> None:
    log = LogMaker()
    log.groups(300, size=2)
    async with open_server(log.source, ring_bytes_max=20_000) as client:
        stream = await client.subscribe(stream_pb2.Open(start=ALL, credit=stream_pb2.Credit(events=7, bytes=1 << 20)))
        seen = 0
        while len(stream.events) < 600:
            await stream.until("events")
            assert len(stream.events) - seen <= 8
            await stream.say(credit=stream_pb2.Credit(events=len(stream.events) - seen, bytes=0))
            seen = len(stream.events)


async def test_progress_and_heartbeat_break_the_silence_of_a_filtered_stream() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        opening = stream_pb2.Open(start=ALL, filter='customer_id = "c-9"', credit=PLENTY)
        opening.heartbeat_interval.FromMilliseconds(500)
        stream = await client.subscribe(opening)
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        log.groups(30)
        while list((progress := await stream.until("progress")).at.next_seq) != list(log.position.next_seq):
            pass
        assert progress.at.filter_hash
        assert (await stream.until("heartbeat")).heartbeat_seq >= 1
        assert stream.events == []


@pytest.mark.parametrize("survives", ["the read model", "nothing"])
async def test_a_restart_between_commit_and_ack_repeats_only_what_was_not_acked(survives: str, tmp_path: Path) -> None:
    log = LogMaker()
    log.groups(20)
    url = f"sqlite:///{tmp_path}/sync.db"
    async with open_database(url, service="sync", migrations=MIGRATIONS) as database:
        subscriptions = SqlSubscriptions(database)
        kept = SqlReadModel(database) if survives == "the read model" else None
        async with open_server(log.source, read_model=kept, subscriptions=subscriptions) as client:
            stream = await subscribe(client)
            await stream.until_events(20)
            await ack_all(stream, log)
            log.groups(10)
            await stream.until_events(30)
    async with open_database(url, service="sync", migrations=MIGRATIONS) as database:
        subscriptions = SqlSubscriptions(database)
        kept = SqlReadModel(database) if survives == "the read model" else None
        async with open_server(log.source, read_model=kept, subscriptions=subscriptions) as client:
            log.groups(1)
            again = await subscribe(client)
            await again.until_events(11)
            await again.until_phase(stream_pb2.PHASE_LIVE)
            assert len(again.events) == 11


async def test_the_log_is_told_what_the_read_model_has_made_durable() -> None:
    log = LogMaker()
    log.groups(5)
    async with open_server(log.source):
        await eventually(lambda: log.source.confirmed == log.position)
