"""Fan-out: the Sync Server from its ring to subscribers that only count, against frames that never change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import grpc
from stateset.common.v1 import position_pb2
from stateset.order.v1 import order_frame_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from tests.bench.effort import Effort
from tests.bench.events import EVENT_BYTES, LOG_EPOCH, SHARDS
from tests.bench.grpc_call import PREFIX_BYTES, CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_readers import Readers
from tests.bench.processes import BenchError, Server, run_server
from tests.bench.reference_sync import FRAME_EVENTS
from tests.bench.report import Comparison
from tests.bench.rounds import WARM_UP_SECONDS, Contender, alternate

SUBSCRIBERS: Final = 10
_EVENTS_PER_SECOND_MAX: Final = 600_000  # to one subscriber: the ring must not run out within a round
_SAMPLE_SECONDS: Final = 0.1
_FILL_SECONDS: Final = 120.0  # some 10 µs an event
METHOD: Final = "/stateset.sync.v1.SyncService/StreamEvents"


def fanout(folder: Path, effort: Effort) -> dict[str, Comparison]:
    """CPU per delivered event of `EVENT_BYTES`, in frames of `FRAME_EVENTS`, to `SUBSCRIBERS` subscribers.

    Each round's subscribers start at the ring's beginning, on connections of their own.

    Args:
        folder: Empty; for the servers' output.
        effort: How often each of the two is measured, and how long.

    Raises:
        BenchError: A server did not start, ended a stream, or sent something other than what was asked.
    """
    per_shard = round((WARM_UP_SECONDS + _SAMPLE_SECONDS + effort.seconds) * _EVENTS_PER_SECOND_MAX / SHARDS)
    ring = ("--events-per-shard", str(per_shard))
    with (
        run_server("tests.bench.fanout_server", ring, folder / "sync.log") as ours,
        run_server("tests.bench.reference_sync", (), folder / "reference.log") as reference,
    ):
        await_filled(ours.address, per_shard)
        samples = alternate(
            _contender("reference", reference, proved=False),
            _contender("ours", ours, proved=True),
            rounds=effort.rounds,
            seconds=effort.seconds,
        )
    return {"fanout_cpu_ratio": Comparison(unit="delivered event", reference=samples[0], ours=samples[1])}


def await_filled(address: str, events_per_shard: int) -> None:
    """Waits until the ring holds everything, by asking for a digest of the whole log."""
    everything = position_pb2.Position(log_epoch=LOG_EPOCH, next_seq=[events_per_shard + 1] * SHARDS)
    with grpc.insecure_channel(address) as channel:
        stub = sync_service_pb2_grpc.SyncServiceStub(channel)
        request = sync_service_pb2.GetDigestRequest(min_position=everything)
        stub.GetDigest(request, timeout=_FILL_SECONDS, wait_for_ready=True)


def _contender(name: str, server: Server, *, proved: bool) -> Contender:
    start = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
    opening = stream_pb2.Open(start=start, batch_events_max=FRAME_EVENTS)
    request = sync_service_pb2.StreamEventsRequest(open=opening).SerializeToString()
    template = CallTemplate(server.address, METHOD, request, deadline_seconds=None)
    return Contender(name, server.cpu_seconds, partial(_open_load, template, server.address, proved=proved))


class Deliveries:
    """Subscribers whose bytes are counted, and by what was found in a sample of them, their events."""

    def __init__(self, readers: Readers, events_per_byte: float) -> None:
        self._readers = readers
        self._events_per_byte = events_per_byte

    def run(self, seconds: float) -> int:
        """Events delivered within the next `seconds`, to all subscribers together."""
        before = self._readers.payload_bytes
        try:
            self._readers.run(seconds)
        except BrokenError as error:
            raise BenchError(f"a stream broke: {error}") from error
        gains = [now - then for now, then in zip(self._readers.payload_bytes, before, strict=True)]
        if not all(gains):
            raise BenchError("a subscriber was sent nothing: the ring has run out, or its stream is stuck")
        return round(sum(gains) * self._events_per_byte)


@contextmanager
def _open_load(template: CallTemplate, address: str, *, proved: bool) -> Iterator[Deliveries]:
    with Readers(template, address, readers=SUBSCRIBERS) as readers:
        samples = [_frames(sample) for sample in readers.sample(_SAMPLE_SECONDS)]
        if proved:
            for sample in samples:
                check_dense(sample)
        yield Deliveries(readers, _events_per_byte([frame for sample in samples for frame in sample]))


def _frames(messages: Sequence[bytes]) -> list[tuple[int, order_frame_pb2.Events]]:
    """Of each message with events its size on the stream, and the events."""
    decoded = ((len(each), sync_service_pb2.StreamEventsResponse.FromString(each).frame) for each in messages)
    return [(size + PREFIX_BYTES, frame.events) for size, frame in decoded if frame.WhichOneof("frame") == "events"]


def check_dense(frames: Sequence[tuple[int, order_frame_pb2.Events]]) -> None:
    """Shows that the frames leave nothing out and repeat nothing.

    Raises:
        BenchError: They do, or their events are not of the size that is compared.
    """
    next_seqs: dict[int, int] = {}
    for _, events in frames:
        for batch in events.batches:
            expected = next_seqs.get(batch.shard, batch.first_seq)
            if batch.first_seq != expected or len(batch.events) != batch.last_seq - batch.first_seq + 1:
                raise BenchError(f"shard {batch.shard}: {expected} was due, not {batch.first_seq}…{batch.last_seq}")
            if any(event.ByteSize() != EVENT_BYTES for event in batch.events):
                raise BenchError(f"shard {batch.shard}: an event is not of {EVENT_BYTES} bytes")
            next_seqs[batch.shard] = batch.last_seq + 1


def _events_per_byte(frames: Sequence[tuple[int, order_frame_pb2.Events]]) -> float:
    if not frames:
        raise BenchError(f"no whole frame of events within {_SAMPLE_SECONDS} s")
    events = sum(len(batch.events) for _, events in frames for batch in events.batches)
    return events / sum(size for size, _ in frames)
