"""Python subscribers at the head of the log, in a process of their own, and how old events are when they arrive.

Each reads under one of so many filters, which differ and let every event through. Says `live` once all of them are.
Then for each line on its standard input it writes one: a JSON object of how many events arrived since the last, by age
in tenths of a millisecond. It ends with its input.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from functools import lru_cache
from typing import Final

import grpc
import grpc.aio
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

_LIVE_SECONDS: Final = 120.0
_FRAMES_KEPT: Final = 256
_METHOD: Final = "/stateset.sync.v1.SyncService/StreamEvents"
# As from as many machines: a connection each.
_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)


class Subscribers:
    """What all of them have seen together."""

    def __init__(self) -> None:
        self.live = asyncio.Semaphore(0)
        self._ages: Counter[int] = Counter()

    async def subscribe(self, address: str, filter_text: str) -> None:
        """One of them; from the head of the log until it is canceled, or the server ends the stream."""
        latest = stream_pb2.Start(point=stream_pb2.START_POINT_LATEST)
        opening = stream_pb2.Open(start=latest, filter=filter_text)
        request = sync_service_pb2.StreamEventsRequest(open=opening).SerializeToString()
        async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
            stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_METHOD)
            async for message in stream(request):
                now_us = time.time_ns() // 1000
                is_live, record_times_us = _seen(message)
                for record_time_us in record_times_us:
                    self._ages[(now_us - record_time_us) // 100] += 1
                if is_live:
                    self.live.release()
        raise ConnectionError("the server has ended the stream")

    def take(self) -> Counter[int]:
        """How many events arrived since the last time, by age."""
        taken, self._ages = self._ages, Counter()
        return taken


@lru_cache(_FRAMES_KEPT)
def _seen(message: bytes) -> tuple[bool, list[int]]:
    """Whether the message says that the stream is live, and the record times of its events, in microseconds.

    All subscribers are sent the same bytes, which are decoded once here: to decode them a hundred times on the machine
    that also serves them would measure little else.
    """
    frame = sync_service_pb2.StreamEventsResponse.FromString(message).frame
    events = (event for batch in frame.events.batches for event in batch.events)
    return frame.phase_change.phase == stream_pb2.PHASE_LIVE, [
        event.metadata.record_time.ToMicroseconds() for event in events
    ]


async def _run(address: str, subscribers: int, filters: int) -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    all_of_them = Subscribers()
    async with asyncio.TaskGroup() as tasks:
        streams = [
            tasks.create_task(
                all_of_them.subscribe(address, f'customer_id != "nobody-{number % filters}"'),
                name=f"subscriber-{number}",
            )
            for number in range(subscribers)
        ]
        async with asyncio.timeout(_LIVE_SECONDS):
            for _ in streams:
                await all_of_them.live.acquire()
        _say("live")
        while await lines.readline():
            _say(json.dumps(all_of_them.take()))
        for stream in streams:
            stream.cancel()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--subscribers", type=int, required=True)
    parser.add_argument("--filters", type=int, required=True)
    arguments = parser.parse_args()
    try:
        asyncio.run(_run(arguments.address, arguments.subscribers, arguments.filters))
    except* Exception as errors:  # noqa: BLE001 - whatever it is, it ends here and is told
        sys.exit(" ".join(repr(errors.exceptions[0]).split()))  # one line, for whoever started this
