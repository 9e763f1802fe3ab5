"""`stateset log`: what is done to the Order Service's log while the service is stopped."""

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from shlex import quote
from typing import Final

from consumers.cli.console import say
from consumers.cli.preflight import ANY_PORTS, prepare
from consumers.cli.system import SERVICES
from infra.runtime.lifespan import StartupError, background, run
from infra.runtime.sql import shown
from infra.runtime.sqlite import url_of

_ORDER, *_READERS = SERVICES
_MODULE: Final = "order.new_epoch"  # the tables are the Order Service's: a process of its own changes them


def main(options: Namespace) -> int:
    """Runs the command; returns its exit code."""
    codes: list[int] = []

    async def serve(stop: asyncio.Event) -> None:
        codes.append(await _new_epoch(options, stop))

    return run(serve) or codes[0]


async def _new_epoch(options: Namespace, stop: asyncio.Event) -> int:
    if not options.yes:
        raise StartupError(
            "new-epoch makes another log of it, and all positions and topics those of another: say --yes as well"
        )
    with _held(options) as url:
        code = await _run(url, stop)
    if code == 0:
        kafka = quote(str(options.data_dir / "kafka"))
        say(f"Next, with Kafka: stateset topics reset --yes; with that of `stateset up`: rm -rf {kafka}")
        say(f"Next, as they refuse another log: {_removal(options)}")
    return code


@contextmanager
def _held(options: Namespace) -> Iterator[str]:
    """The URL of the database. The folder, where it is in one, is held for this process while the context lasts."""
    if options.database is not None:
        yield options.database
        return
    file = options.data_dir / f"{_ORDER.name}.db"
    if not file.exists():
        raise StartupError(f"there is no {file}: name its folder with --data-dir, or a PostgreSQL with --database")
    with prepare(options.data_dir, ANY_PORTS) as plan:
        yield url_of(plan.file(_ORDER))


async def _run(url: str, stop: asyncio.Event) -> int:
    """Runs the module to its end. The URL goes by the environment: it may hold a password."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", _MODULE),
        env={**os.environ, f"STATESET_{_ORDER.name.upper()}_DATABASE": url},
    )

    async def pass_on() -> None:
        await stop.wait()
        with suppress(ProcessLookupError):
            process.terminate()

    async with background(pass_on(), name="stop"):
        return await process.wait()


def _removal(options: Namespace) -> str:
    """What removes the databases that were made from the log as it was."""
    names = [service.name for service in _READERS]
    if options.database is None:
        return f"rm -f {' '.join(f'{quote(str(options.data_dir / name))}.db*' for name in names)}"
    schemas = ", ".join(f"stateset_{name}" for name in names)
    return f"DROP SCHEMA IF EXISTS {schemas} CASCADE, in {shown(options.database)}"
