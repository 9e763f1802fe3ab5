"""The command line as a user starts it: in a process of its own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from consumers.cli.preflight import Ports
from tests.harness.ports import free_system
from tests.harness.system_children import is_running

_FOR_TESTS = "STATESET_DATABASE_URL"  # no setting of the product
READY = "Everything is up. Ctrl-C stops it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A command that runs, and the lines it has said so far."""

    process: Process
    said: Sequence[str]

    def address(self, service: str) -> str:
        """Where `stateset up` said that a service listens."""
        [line] = [line for line in self.said if line.startswith(f"{service} ") and "gRPC" in line]
        return line.split()[2]


async def stateset(*arguments: str, environment: Mapping[str, str] | None = None, seconds: float = 60) -> Outcome:
    """Runs a command to its end."""
    process = await start(arguments, environment or {})
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Outcome(code=process.returncode, out=out.decode(), err=err.decode())


async def start(arguments: tuple[str, ...], environment: Mapping[str, str], *, out: int = PIPE) -> Process:
    """A command that has just been started; its output goes to a pipe, or to the file with this descriptor."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "consumers.cli", *arguments),
        stdout=out,
        stderr=PIPE,
        env={**{name: value for name, value in os.environ.items() if name != _FOR_TESTS}, **environment},
    )


@asynccontextmanager
async def started(arguments: tuple[str, ...], *, until: str) -> AsyncIterator[Started]:
    """A command that has said `until`; killed in the end with whatever it has left behind."""
    process = await start(arguments, {})
    children: list[int] = []
    try:
        async with asyncio.timeout(180):
            said = await _said(process, until)
        children = children_of(process.pid)
        yield Started(process=process, said=said)
    finally:
        if process.returncode is None:
            children += children_of(process.pid)
            process.kill()
        await process.communicate()
        for child in filter(is_running, children):
            os.kill(child, signal.SIGKILL)


@asynccontextmanager
async def stateset_up(
    data_dir: Path, *, until: str = READY, bus: str = "direct", database: str = "sqlite"
) -> AsyncIterator[Started]:
    """`stateset up` on free ports; everything is up, unless less is waited for."""
    arguments = ("up", "--data-dir", str(data_dir), "--bus", bus, "--database", database, *free_options())
    async with started(arguments, until=until) as up:
        yield up


def free_options() -> list[str]:
    """The options of `stateset up` by which it listens where nobody else does."""
    return options_of(free_system())


def options_of(ports: Ports) -> list[str]:
    """The options of `stateset up` by which it listens on these ports."""
    chosen = {
        **{f"--{name}-port": port for name, port in ports.grpc.items()},
        **{f"--{name}-admin-port": port for name, port in ports.admin.items()},
        "--http-port": ports.http,
        "--kafka-port": ports.kafka,
        "--postgres-port": ports.postgres,
    }
    return [part for option, port in chosen.items() for part in (option, str(port))]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file of the folder with its bytes, every folder without."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


async def _said(process: Process, until: str) -> list[str]:
    """The lines up to the one that holds `until`."""
    assert process.stdout is not None
    said: list[str] = []
    while not said or until not in said[-1]:
        line = await process.stdout.readline()
        assert line, f"ended without {until!r}: {said}, {(await process.communicate())[1].decode()}"
        said.append(line.decode())
    return said
