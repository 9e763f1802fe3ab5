"""A database that has lost a committed event: whoever reads the log is told, nobody passes the place, orders go on."""

import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from stateset.order.v1 import order_service_pb2

from infra.kernel.shard import shard_of
from tests.harness.order_service import order_service, read_until, refused
from tests.harness.waiting import eventually_async

SHARDS = 2


def lose(folder: Path, shard: int, seq: int) -> None:
    with closing(sqlite3.connect(folder / "order.db")) as database, database:
        lost = database.execute("DELETE FROM order_events WHERE shard = ? AND seq = ?", (shard, seq)).rowcount
    assert lost == 1


@pytest.mark.parametrize("batch_events_max", [1, 0], ids=["one by one", "all at once"])
@pytest.mark.parametrize("lost", [1, 3, 5], ids=["the first", "amid others", "the newest"])
async def test_a_stream_ends_before_an_event_that_is_lost_and_orders_go_on(
    tmp_path: Path, lost: int, batch_events_max: int
) -> None:
    placed = [0, 0]
    async with order_service(tmp_path, shards=SHARDS) as service:
        for number in range(100):
            shard = shard_of(f"o-{number}", SHARDS)
            if placed[shard] < 5:
                await service.place(1, order_id=f"o-{number}")
                placed[shard] += 1
    lose(tmp_path, 0, lost)

    seqs: dict[int, list[int]] = {0: [], 1: []}
    async with order_service(tmp_path, shards=SHARDS, log_retention_hours=1_000) as service:
        asked = order_service_pb2.StreamOrderEventsRequest()
        asked.open.batch_events_max = batch_events_max
        stream = service.orders.StreamOrderEvents(asked)
        while (frame := (await stream.read()).frame).WhichOneof("frame") != "closed":
            for batch in frame.events.batches:
                seqs[batch.shard] += [event.seq for event in batch.events]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        told = refused(error.value)

        async def is_served() -> bool:
            return bool((await service.place(1)).order.order_id)

        await eventually_async(is_served)

    assert (told.code, told.reason) == (grpc.StatusCode.DATA_LOSS, "LOG_HOLE")
    assert told.metadata == {"shard": "0", "seq": str(lost)}
    assert seqs[0] == list(range(1, lost))
    assert seqs[1] == list(range(1, len(seqs[1]) + 1))
    assert [seq - 1 for seq in frame.closed.position.next_seq] == [len(seqs[0]), len(seqs[1])]


async def test_a_position_of_a_filtered_stream_is_refused(tmp_path: Path) -> None:
    async with order_service(tmp_path) as service:
        asked = order_service_pb2.StreamOrderEventsRequest()
        asked.open.start.position.CopyFrom((await service.place(1)).position)
        asked.open.start.position.filter_hash = b"12345678"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read_until(service.orders.StreamOrderEvents(asked), "opened")
    assert refused(error.value).reason == "POSITION_FILTER_MISMATCH"
