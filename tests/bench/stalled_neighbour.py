"""What a subscriber that has stopped reading costs its neighbours."""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, nullcontext
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Final, Self

from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from tests.bench.ages import percentile_ms
from tests.bench.effort import Effort
from tests.bench.fanout import METHOD, await_filled
from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_crowd import Crowd
from tests.bench.http2_readers import Reader
from tests.bench.processes import BenchError, run_server, unsent_bytes
from tests.bench.report import Reading
from tests.bench.stalled_reader import EVENTS_PER_SHARD, KERNEL_BYTES_MAX

_TAIL_EVENTS_PER_S: Final = 4.0  # each is a thousand messages, some 0.1 s of the server's time
_BEGIN_SECONDS: Final = 2.0  # by then the one more has read everything that there was, or is stuck


def stalled_neighbour(folder: Path, effort: Effort) -> Mapping[str, Reading]:
    """How much later live subscribers have an event if one more of them reads nothing.

    For each event, when 99 of 100 have it; of all events the median, as another process that wants the core hits one
    and not the next. Rounds alternate: the one more reads everything from the log's begin, or stops at once.

    Raises:
        BenchError: A stream broke, or nothing arrived.
    """
    ring = ("--events-per-shard", str(EVENTS_PER_SHARD), "--tail-events-per-s", str(_TAIL_EVENTS_PER_S))
    none_stalled: list[float] = []
    one_stalled: list[float] = []
    with run_server("tests.bench.fanout_server", ring, folder / "sync.log") as server:
        await_filled(server.address, EVENTS_PER_SHARD)
        try:
            with _Neighbours(server.address, effort.neighbours) as neighbours:
                for _ in range(effort.rounds):
                    none_stalled += neighbours.p99s_ms(effort.seconds, stalls=False)
                    one_stalled += neighbours.p99s_ms(effort.seconds, stalls=True)
        except BrokenError as error:
            raise BenchError(f"a live stream broke: {error}") from error
    if not none_stalled or not one_stalled:
        raise BenchError("no event has reached everybody")
    rests_on = {
        "subscribers": effort.neighbours,
        "rounds": effort.rounds,
        "events": len(none_stalled) + len(one_stalled),
        "p99_ms_none_stalled": round(median(none_stalled), 1),
        "p99_ms_one_stalled": round(median(one_stalled), 1),
    }
    ratio = median(one_stalled) / median(none_stalled)
    return {
        "stalled_neighbour_p99_ratio": Reading(
            value=ratio, unit="×", goal=1.10, more_is_better=False, rests_on=rests_on
        )
    }


class _Neighbours:
    """Live subscribers, and how old events are when they come; a context."""

    def __init__(self, address: str, subscribers: int) -> None:
        self._address = address
        self._subscribers = subscribers - 1
        self._ages: dict[int, Counter[int]] = {}
        self._crowd = Crowd(_latest(address), address, streams=self._subscribers, hear=self._hear)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crowd.close()

    def p99s_ms(self, seconds: float, *, stalls: bool) -> list[float]:
        """With one subscriber more for so long: of each event the age at which 99 of 100 neighbours have it."""
        more = Reader(_earliest(self._address), self._address, kernel_bytes_max=KERNEL_BYTES_MAX if stalls else None)
        with closing(more.connection), nullcontext() if stalls else self._crowd.joined_by(more):
            self._crowd.run(_BEGIN_SECONDS)
            if stalls and not unsent_bytes(self._address):
                raise BenchError("nothing waits for the subscriber that was to stall")
            self._ages.clear()
            self._crowd.run(seconds)
        return [percentile_ms(ages, 99) for ages in self._ages.values() if ages.total() == self._subscribers]

    def _hear(self, message: bytes) -> None:
        now_us = time.time_ns() // 1_000
        for record_time_us in _record_times_us(message):
            self._ages.setdefault(record_time_us, Counter())[(now_us - record_time_us) // 100] += 1


@lru_cache(maxsize=16)  # all of them are sent the same bytes
def _record_times_us(message: bytes) -> list[int]:
    frame = sync_service_pb2.StreamEventsResponse.FromString(message).frame
    return [event.metadata.record_time.ToMicroseconds() for batch in frame.events.batches for event in batch.events]


def _latest(address: str) -> CallTemplate:
    return _template(address, stream_pb2.START_POINT_LATEST)


def _earliest(address: str) -> CallTemplate:
    return _template(address, stream_pb2.START_POINT_EARLIEST)


def _template(address: str, point: stream_pb2.StartPoint.ValueType) -> CallTemplate:
    opening = stream_pb2.Open(start=stream_pb2.Start(point=point))
    request = sync_service_pb2.StreamEventsRequest(open=opening).SerializeToString()
    return CallTemplate(address, METHOD, request, deadline_seconds=None)
