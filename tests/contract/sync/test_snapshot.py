"""State and tail in one stream: what a snapshot brings, how it goes on after a break, what is refused."""

import random

import pytest
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.shard import shard_of
from sync.application.ports import ReadModel
from tests.harness.sync_client import PLENTY, Client, Stream, open_server, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

NEW = stream_pb2.Start(snapshot=stream_pb2.SnapshotStart())


async def ingested(client: Client, log: LogMaker) -> None:
    everything = sync_service_pb2.GetDigestRequest(min_position=start_at(log.position).position)
    await client.stub.GetDigest(everything, timeout=20)


def versions(stream: Stream, known: dict[str, int] | None = None) -> dict[str, int]:
    """What a reader that follows the contract has: each order of the snapshot, then each event above its version."""
    have = dict(known or {})
    have |= {order.order_id: order.version for order in stream.orders}
    for event in stream.events:
        if event.version > have.get(event.order_id, 0):
            assert event.version == have.get(event.order_id, 0) + 1, "a change was missed"
            have[event.order_id] = event.version
    return have


async def open_with(client: Client, credit: int, start: stream_pb2.Start = NEW, **opening: object) -> Stream:
    few = stream_pb2.Credit(events=credit, bytes=1 << 30)
    return await client.subscribe(stream_pb2.Open(start=start, credit=few, **opening))  # type: ignore[arg-type]  # any field


async def test_a_snapshot_brings_every_order_by_id_and_the_tail_starts_at_its_begin(read_model: ReadModel) -> None:
    log = LogMaker()
    log.groups(50)
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = client.stream_events(stream_pb2.Open(start=NEW, batch_events_max=7))
        await stream.until("snapshot_end")
        kinds = [frame.WhichOneof("frame") for frame in stream.frames]
        assert kinds == ["opened", "phase_change", "snapshot_begin", *["snapshot_orders"] * 8, "snapshot_end"]
        assert stream.frames[1].phase_change.phase == stream_pb2.PHASE_SNAPSHOT
        assert {len(frame.snapshot_orders.orders) for frame in stream.frames[3:-1]} == {7, 1}
        assert [order.order_id for order in stream.orders] == sorted(f"o-{number}" for number in range(1, 51))
        assert list(log.position.next_seq) == list(stream.frames[2].snapshot_begin.at.next_seq)
        log.group("o-50")
        await stream.until_events(1)
        assert versions(stream)["o-50"] == 2


@pytest.mark.parametrize("seed", range(4))
async def test_a_snapshot_without_a_gap_whatever_is_recorded_while_it_is_read(read_model: ReadModel, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test that can be played again
    log = LogMaker()
    truth: dict[str, int] = {}

    def traffic(commands: int) -> None:
        for _ in range(commands):
            order_id = f"o-{chance.randrange(60):02}"
            size = chance.randint(1, 3)
            log.group(order_id, size=size)
            truth[order_id] = truth.get(order_id, 0) + size

    traffic(80)
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = await open_with(client, credit=3)
        begin = await stream.until("snapshot_begin")
        known: dict[str, int] = {}
        while True:
            frame = await stream.next()
            assert frame is not None
            if frame.HasField("snapshot_end"):
                break
            if frame.HasField("snapshot_orders"):
                traffic(chance.randint(0, 4))
                await ingested(client, log)
                if chance.random() < 0.3:
                    stream.call.cancel()
                    known |= {order.order_id: order.version for order in stream.orders}
                    resume = stream_pb2.SnapshotStart(at=begin.at, after_order_id=max(known))
                    stream = await open_with(client, credit=3, start=stream_pb2.Start(snapshot=resume))
                    assert await stream.until("snapshot_begin") == stream_pb2.SnapshotBegin(
                        at=begin.at, after_order_id=max(known)
                    )
                else:
                    await stream.say(credit=stream_pb2.Credit(events=3))
        await stream.say(credit=PLENTY)
        while stream.next_seqs != dict(enumerate(log.position.next_seq)):
            await stream.until("events")
        assert versions(stream, known) == truth


async def test_credit_counts_orders_as_events_and_bytes(read_model: ReadModel) -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = await open_with(client, credit=4, heartbeat_interval={"nanos": 500_000_000})
        await stream.until("heartbeat")
        await stream.until("heartbeat")
        assert len(stream.orders) == 4
        size = stream.orders[0].ByteSize()
        await stream.say(credit=stream_pb2.Credit(events=100, bytes=2 * size, mode=stream_pb2.CREDIT_MODE_SET))
        await stream.until("heartbeat")
        await stream.until("heartbeat")
        assert 5 <= len(stream.orders) <= 7
        await stream.say(credit=PLENTY)
        await stream.until("snapshot_end")
        assert len(stream.orders) == 30


async def test_there_is_no_progress_and_no_ack_before_the_snapshots_end(read_model: ReadModel) -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = await open_with(client, credit=4, heartbeat_interval={"nanos": 500_000_000}, subscription="s-1")
        await stream.until("heartbeat")
        assert "progress" not in [frame.WhichOneof("frame") for frame in stream.frames]
        await stream.say(ack=stream_pb2.Ack(ack_id="a-1", through=start_at(log.position).position))
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.ack"])
        again = await client.subscribe(stream_pb2.Open(subscription="s-1", credit=PLENTY))
        opened = await again.until("opened")
        assert list(opened.position.next_seq) == [1, 1, 1], "what was cut short must not count as done"


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("customer_id = c-1", ["o-01", "o-04", "o-07"]),
        ("product_id = p-4", ["o-04"]),
        ("customer_id = c-1 AND NOT product_id = p-4", ["o-01", "o-07"]),
        ("customer_id = c-2 OR product_id = p-4", ["o-02", "o-04", "o-05", "o-08"]),
    ],
)
async def test_a_filter_is_pushed_down_to_the_snapshot(
    read_model: ReadModel, filter_text: str, expected: list[str]
) -> None:
    log = LogMaker()
    for number in range(9):
        log.group(f"o-{number:02}", customer_id=f"c-{number % 3}", products=("p-1", f"p-{number}"))
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = client.stream_events(stream_pb2.Open(start=NEW, filter=filter_text))
        await stream.until("snapshot_end")
        assert [order.order_id for order in stream.orders] == expected


async def test_only_orders_of_the_shards_that_are_read_come(read_model: ReadModel) -> None:
    log = LogMaker()
    log.groups(40)
    async with open_server(log.source, read_model=read_model) as client:
        await ingested(client, log)
        stream = client.stream_events(stream_pb2.Open(start=NEW, shards=[1]))
        await stream.until("snapshot_end")
        assert {shard_of(order.order_id, 3) for order in stream.orders} == {1}
        assert len(stream.orders) == log.position.next_seq[1] - 1
        at = stream.frames[3].snapshot_orders.at
        assert [bool(seq) for seq in at.next_seq] == [False, True, False]


async def test_a_snapshot_whose_begin_can_no_longer_be_read_is_expired() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        await ingested(client, log)
        log.source.trim(2, 3)
        log.source.confirmed = None
        await eventually(lambda: log.source.confirmed is not None)
        at = start_at(log.earliest).position
        resume = stream_pb2.Start(snapshot=stream_pb2.SnapshotStart(at=at, after_order_id="o-2"))
        stream = client.stream_events(stream_pb2.Open(start=resume))
        assert await stream.refusal() == (StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED", [])


@pytest.mark.parametrize(
    ("opening", "field"),
    [
        ({"filter": "type:* AND customer_id = c-1", "start": NEW}, "open.filter"),
        (
            {"start": stream_pb2.Start(snapshot=stream_pb2.SnapshotStart(after_order_id="o-1"))},
            "open.start.snapshot.at",
        ),
        (
            {
                "start": stream_pb2.Start(
                    snapshot=stream_pb2.SnapshotStart(at=position_pb2.Position(), after_order_id="o\0")
                )
            },
            "open.start.snapshot.after_order_id",
        ),
    ],
)
async def test_a_malformed_snapshot_start_is_refused(opening: dict[str, object], field: str) -> None:
    async with open_server(LogMaker().source) as client:
        stream = client.stream_events(stream_pb2.Open(**opening))  # type: ignore[arg-type]  # any field
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", [field])
