"""The Sync Server and the Order Service as processes of their own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from tests.harness.ports import free_address

STOP_SECONDS = 15.0


@asynccontextmanager
async def running(
    program: str, folder: Path, address: str, *options: str, database: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A service on `address` with its database in `folder`, or the one given; stopped in the end."""
    arguments = ("--database", database or f"sqlite:///{folder}/{program}.db", "--grpc-address", address)
    if program == "sync" and "--http-address" not in options:
        options = ("--http-address", free_address(), *options)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        program,
        *arguments,
        "--admin-address",
        free_address(),
        *options,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("STATESET_")},
    )
    reading = asyncio.create_task(_drained(process), name=f"{program}-stderr")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            raise
        finally:
            await reading


async def _drained(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        sys.stderr.write(line.decode())  # pytest shows it beside a failure


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that is ready; a crowded machine takes its time to start a process."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        async with asyncio.timeout(60):
            await channel.channel_ready()
        yield channel
