"""Streams that prove themselves: the digest says what a reader should hold, at a place that it has passed."""

import random
from collections.abc import AsyncIterator
from typing import Final

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from stateset.stream.v1 import stream_pb2
from stateset_client import Verifier

from sync.application.ports import ReadModel
from tests.harness.sync_client import PLENTY, Client, Stream, open_server
from tests.harness.sync_log import LogMaker

EACH_SECOND: Final = Duration(seconds=1)
FILTERS: Final = ["", "customer_id = c-1", "product_id = p-2", "customer_id = c-1 AND NOT product_id = p-2"]


def traffic(log: LogMaker, chance: random.Random, commands: int) -> None:
    for _ in range(commands):
        number = chance.randrange(40)
        log.group(f"o-{number}", size=chance.randint(1, 3), customer_id=f"c-{number % 2}", products=[f"p-{number % 3}"])


async def proof(stream: Stream, verifier: Verifier) -> bool | None:
    """Whether the reader agrees with the next digest, once it has taken in all that came before."""
    digest = await stream.until("digest")
    verifier.add_orders(stream.orders)
    verifier.add_events(stream.events)
    return verifier.agrees(digest)


@pytest.mark.parametrize("text", FILTERS)
async def test_a_reader_who_has_missed_nothing_agrees_whatever_its_filter(read_model: ReadModel, text: str) -> None:
    log, chance = LogMaker(), random.Random(4)  # noqa: S311 - the same every time
    traffic(log, chance, 60)
    async with open_server(log.source, read_model=read_model) as client:
        opening = stream_pb2.Open(filter=text, digest_interval=EACH_SECOND)
        readers = [(client.stream_events(opening), Verifier()) for _ in range(2)]
        for _ in range(2):
            for stream, verifier in readers:
                assert await proof(stream, verifier) is True
                traffic(log, chance, 30)


@pytest.fixture
async def client() -> AsyncIterator[tuple[LogMaker, Client]]:
    log = LogMaker()
    traffic(log, random.Random(5), 60)  # noqa: S311 - as above
    async with open_server(log.source) as client:
        yield log, client


async def test_shards_of_ones_own_are_proved_by_themselves(client: tuple[LogMaker, Client]) -> None:
    opening = stream_pb2.Open(shards=[0, 2], digest_interval=EACH_SECOND, credit=PLENTY)
    stream = await client[1].subscribe(opening)
    assert await proof(stream, Verifier()) is True
    at = stream.frames[-1].digest.at.next_seq
    assert [bool(seq) for seq in at] == [True, False, True]


async def test_who_begins_with_a_snapshot_is_proved_from_its_orders_on(client: tuple[LogMaker, Client]) -> None:
    start = stream_pb2.Start(snapshot=stream_pb2.SnapshotStart())
    stream = client[1].stream_events(stream_pb2.Open(start=start, digest_interval=EACH_SECOND))
    assert await proof(stream, Verifier()) is True


async def test_a_digest_is_behind_everything_that_it_speaks_of(client: tuple[LogMaker, Client]) -> None:
    log, chance = client[0], random.Random(6)  # noqa: S311 - as above
    stream = client[1].stream_events(stream_pb2.Open(digest_interval=EACH_SECOND))
    while (frame := await stream.next()) is not None and not frame.HasField("digest"):
        traffic(log, chance, 5)
    assert frame is not None
    assert all(stream.next_seqs[shard] >= seq for shard, seq in enumerate(frame.digest.at.next_seq))


async def test_an_event_that_was_lost_on_the_way_is_noticed(client: tuple[LogMaker, Client]) -> None:
    log = client[0]
    lost = log.group("o-lost").events[0].seq
    stream = client[1].stream_events(stream_pb2.Open(digest_interval=EACH_SECOND))
    digest = await stream.until("digest")
    careless, careful = Verifier(), Verifier()
    careful.add_events(stream.events)
    careless.add_events(event for event in stream.events if (event.order_id, event.seq) != ("o-lost", lost))
    assert (careful.agrees(digest), careless.agrees(digest)) == (True, False)


async def test_a_stream_that_nobody_wants_proved_has_no_digest(client: tuple[LogMaker, Client]) -> None:
    stream = client[1].stream_events(stream_pb2.Open(heartbeat_interval=Duration(nanos=500_000_000)))
    for _ in range(4):
        await stream.until("heartbeat")
    assert not any(frame.HasField("digest") for frame in stream.frames)


@pytest.mark.parametrize(
    ("opening", "field"),
    [
        (stream_pb2.Open(digest_interval=Duration(nanos=1)), "frame.open.digest_interval"),
        (stream_pb2.Open(digest_interval=Duration(seconds=9_999)), "frame.open.digest_interval"),
        (
            stream_pb2.Open(digest_interval=EACH_SECOND, filter="type = stateset.order.v1.OrderPlaced"),
            "frame.open.digest_interval",
        ),
        (
            stream_pb2.Open(subscription="s", digest_interval=EACH_SECOND, unacked_events_max=9),
            "frame.open.digest_interval",
        ),
    ],
)
async def test_a_proof_of_what_a_reader_cannot_hold_is_refused(
    client: tuple[LogMaker, Client], opening: stream_pb2.Open, field: str
) -> None:
    stream = await client[1].subscribe(opening)
    assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", [field])
