"""The Sync Server as its `main` puts it together, on a log in memory that is read into the ring once.

Then the log rests, so that what is measured is the way from the ring to the subscribers; or it goes on slowly, with
events that say when they were recorded.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from itertools import count
from typing import Final

from infra.kernel.position import Position
from infra.runtime.lifespan import run
from sync.adapters.memory import MemoryReadModel, MemorySubscriptions
from sync.adapters.wire import event_from_wire
from sync.domain.log import Batch, Event, LogHead, OrderRow
from sync.main import Ports, open_sync
from sync.settings import SyncSettings
from tests.bench.events import EVENT_BYTES, LOG_EPOCH, SHARDS, encoded_event, recorded_event

_BATCH_EVENTS: Final = 500
_CHUNKS_PER_SHARD: Final = 2_000  # 7 MB of different bytes in all: more than the nearest caches hold


class PreparedSource:
    """A log of so many events in every shard; see `EventSource`. Their bytes come round again, their seqs do not."""

    def __init__(self, events_per_shard: int, tail_events_per_s: float) -> None:
        self._events = events_per_shard
        self._tail_events_per_s = tail_events_per_s
        self._chunks = min(events_per_shard, _CHUNKS_PER_SHARD)
        self._made = [
            [event_from_wire(encoded_event(shard, seq)) for seq in range(1, self._chunks + 1)]
            for shard in range(SHARDS)
        ]

    async def head(self) -> LogHead:
        """See `EventSource.head`."""
        return LogHead(
            log_epoch=LOG_EPOCH,
            next_seq=(self._events + 1,) * SHARDS,
            earliest_seq=(1,) * SHARDS,
            read_time_us=time.time_ns() // 1_000,
        )

    async def record_times(self, position: Position, shards: Collection[int]) -> Mapping[int, int]:
        """See `EventSource.record_times`: nobody needs it."""
        raise AssertionError((position, shards))

    async def position_at(self, time_us: int) -> Position:
        """See `EventSource.position_at`: nobody needs it."""
        raise AssertionError(time_us)

    async def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        """See `EventSource.follow`."""
        if set(start.next_seq) != {1}:
            raise AssertionError(start)
        for first in range(1, self._events + 1, _BATCH_EVENTS):
            yield [self._batch(shard, first) for shard in range(SHARDS)]
        if not self._tail_events_per_s:
            await asyncio.Event().wait()
        for number in count():
            await asyncio.sleep(1 / self._tail_events_per_s)
            shard, seq = number % SHARDS, self._events + 1 + number // SHARDS
            event = event_from_wire(recorded_event(shard, seq, time.time_ns() // 1_000))
            yield [Batch(shard=shard, first_seq=seq, last_seq=seq, events=[event])]

    def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        """See `EventSource.orders`: nobody needs them, as the log is whole."""
        raise AssertionError

    def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        """See `EventSource.read`: nobody needs it, as the ring holds everything."""
        raise AssertionError(start, shards)

    async def confirm(self, position: Position) -> None:
        """See `EventSource.confirm`."""

    def _batch(self, shard: int, first: int) -> Batch:
        seqs = range(first, min(first + _BATCH_EVENTS, self._events + 1))
        events = [_numbered(self._made[shard][seq % self._chunks], seq) for seq in seqs]
        return Batch(shard=shard, first_seq=seqs[0], last_seq=seqs[-1], events=events)


def _numbered(event: Event, seq: int) -> Event:
    return Event(
        seq=seq,
        log_epoch=event.log_epoch,
        record_time_us=event.record_time_us,
        ends_group=event.ends_group,
        size=event.size,
        chunk=event.chunk,
        attributes=event.attributes,
        order=event.order,
    )


async def _serve(
    address: str, http_address: str, events_per_shard: int, tail_events_per_s: float, stop: asyncio.Event
) -> None:
    read_model, position = MemoryReadModel(), Position.earliest(LOG_EPOCH, SHARDS)
    await read_model.begin(position)
    settings = SyncSettings(
        grpc_address=address, http_address=http_address, ring_bytes_max=2 * SHARDS * events_per_shard * EVENT_BYTES
    )
    subscriptions = MemorySubscriptions()
    ports = Ports(PreparedSource(events_per_shard, tail_events_per_s), read_model, subscriptions, subscriptions.parking)
    async with open_sync(settings, ports, position):
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--http-address", default="127.0.0.1:0")
    parser.add_argument("--events-per-shard", type=int, required=True)
    parser.add_argument("--tail-events-per-s", type=float, default=0.0)
    arguments = parser.parse_args()
    run(
        lambda stop: _serve(
            arguments.grpc_address,
            arguments.http_address,
            arguments.events_per_shard,
            arguments.tail_events_per_s,
            stop,
        )
    )
