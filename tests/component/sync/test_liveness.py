"""Readers that stop, and links that go dead: nobody else notices, and whoever is concerned does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import REGISTRY
from stateset.stream.v1 import stream_pb2
from stateset_client import EARLIEST, EventStream, StreamLimits, Subscription

from sync.domain.frames import Phase
from tests.bench.grpc_call import CallTemplate
from tests.bench.http2_crowd import Crowd
from tests.bench.idle import SUBSCRIBE, opening_request
from tests.harness.ports import free_address
from tests.harness.sync_client import PLENTY, open_server
from tests.harness.sync_log import LogMaker
from tests.harness.tcp_link import Link
from tests.harness.waiting import eventually

PADDING_BYTES: Final = 20_000
SECONDS: Final = 60
IDLE_STREAMS: Final = 500
QUICK: Final = StreamLimits(heartbeat_seconds=0.5)
READER: Final = """
import asyncio, sys
from stateset_client import EARLIEST, Subscription

async def main(address, wanted):
    seen = []
    async with Subscription(address, "frozen", start=EARLIEST) as subscription:
        async for batch in subscription:
            seen += [(event.shard, event.seq) for event in batch.events]
            print(len(seen), flush=True)
            if len(seen) >= wanted:
                break
    assert len(seen) == len(set(seen))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@asynccontextmanager
async def reading(address: str, wanted: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A subscriber in a process of its own; each line says how many events it has."""
    command = (sys.executable, "-c", READER, address, str(wanted))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def count(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    return int(await process.stdout.readline() or -1)


def live() -> float:
    return REGISTRY.get_sample_value("stateset_sync_streams", {"phase": Phase.LIVE}) or 0.0


async def test_a_reader_that_is_frozen_delays_nobody_and_misses_nothing_once_it_goes_on() -> None:
    log, address = LogMaker(), free_address()
    log.groups(10)
    wanted = 1_010  # 20 MB: far more than its credit, its sockets and the ring have room for
    async with (
        asyncio.timeout(SECONDS),
        open_server(log.source, grpc_address=address, ring_bytes_max=2_000_000) as client,
        reading(address, wanted) as frozen,
    ):
        other = await client.subscribe(stream_pb2.Open(credit=PLENTY))
        while await count(frozen) < 10:
            pass
        os.kill(frozen.pid, signal.SIGSTOP)
        for _ in range(100):
            log.groups(10, padding=PADDING_BYTES)
            await other.until_events(len(log.events))
        os.kill(frozen.pid, signal.SIGCONT)
        seen = 10
        while seen < wanted:
            seen = await count(frozen)
            assert seen > 0
        assert await frozen.wait() == 0


async def test_a_link_that_goes_dead_is_noticed_and_left_within_three_heartbeats() -> None:
    log, address = LogMaker(), free_address()
    log.groups(10)
    async with asyncio.timeout(SECONDS), open_server(log.source, grpc_address=address):
        link = Link(address)
        async with (
            link.listening() as linked,
            Subscription(linked, "s-1", start=EARLIEST, limits=QUICK) as subscription,
        ):
            seen: list[tuple[int, int]] = []

            async def until(number: int) -> None:
                while len(seen) < number:
                    batch = await anext(subscription)
                    seen.extend((event.shard, event.seq) for event in batch.events)

            await until(10)
            link.go_dead()
            log.groups(10)
            await until(20)
            assert link.connections == 2
            assert len(set(seen)) == 20


async def test_the_server_lets_go_of_a_reader_whose_link_is_dead() -> None:
    log, address = LogMaker(), free_address()
    before = live()
    async with asyncio.timeout(SECONDS), open_server(log.source, grpc_address=address):
        link = Link(address)
        async with link.listening() as linked, EventStream(linked, limits=QUICK) as stream:
            await stream.opened()
            await eventually(lambda: live() == before + 1)
            link.go_dead()
            # The reader comes back by another connection, so there are two of it until the first is given up.
            await eventually(lambda: live() == before + 2, within_seconds=30)
            await eventually(lambda: live() == before + 1, within_seconds=30)


async def test_five_hundred_idle_streams_hear_a_heartbeat_each() -> None:
    log, address = LogMaker(), free_address()
    template = CallTemplate(address, SUBSCRIBE, opening_request(0.5), deadline_seconds=None, more_to_say=True)

    def idle() -> tuple[int, int]:
        with Crowd(template, address, streams=IDLE_STREAMS) as crowd:
            opened = crowd.messages
            while min(now - then for now, then in zip(crowd.messages, opened, strict=True)) < 10:
                crowd.run(0.5)
            return len(crowd.messages), min(crowd.messages)

    async with asyncio.timeout(SECONDS), open_server(log.source, grpc_address=address):
        streams, _ = await asyncio.to_thread(idle)
        assert streams == IDLE_STREAMS
