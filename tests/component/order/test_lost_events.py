"""A database that has lost a committed event: whoever reads the log is told, and nobody passes the place."""

import sqlite3
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from stateset.order.v1 import order_service_pb2

from tests.harness.order_service import order_service, read_until, refused


@pytest.mark.parametrize("lost", [2, 3], ids=["amid others", "the newest"])
async def test_a_stream_ends_before_an_event_that_is_lost(tmp_path: Path, lost: int) -> None:
    async with order_service(tmp_path, shards=1) as service:
        for _ in range(3):
            await service.place(1)
    with closing(sqlite3.connect(tmp_path / "order.db")) as database, database:
        database.execute("DELETE FROM order_events WHERE seq = ?", (lost,))

    async with order_service(tmp_path, shards=1) as service:
        asked = order_service_pb2.StreamOrderEventsRequest()
        asked.open.batch_events_max = 1
        stream = service.orders.StreamOrderEvents(asked)
        for seq in range(1, lost):
            frame = await read_until(stream, "events")
            assert [event.seq for batch in frame.events.batches for event in batch.events] == [seq]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read_until(stream, "events")

    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.DATA_LOSS, "LOG_HOLE")
    assert told.metadata == {"shard": "0", "seq": str(lost)}
