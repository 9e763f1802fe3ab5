"""The life of a process: from its settings to its exit code."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from infra.runtime.loop import EventLoop

EXIT_UNUSABLE: Final = 2  # told apart by the supervisor: starting again cannot help
SUPERVISED: Final = "STATESET_SUPERVISED"  # set by the supervisor: its end of our standard input is its life line
# Servers hold many live objects and leave few cycles behind: with Python's 700, looking for those took a third of the
# Sync Server's time while it filled its ring. A cycle now lives until 50,000 more objects do, a few dozen megabytes.
_NEW_OBJECTS: Final = 50_000


class StartupError(Exception):
    """The process cannot start as it was told to; the message is one line that says what to do."""


class EndedError(Exception):
    """The process cannot go on, and starting it again may help; the message is one line that says what to do."""


_EXITS: Final[Mapping[type[Exception], int]] = {StartupError: EXIT_UNUSABLE, EndedError: 1}


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Runs the work while the context lasts, as a task of that name. Leaving cancels it; its failure ends the body."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work, name=name)
        try:
            yield
        finally:
            task.cancel()


def run(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Runs `serve` until it ends; its event is set when the process is asked to stop. Returns the exit code.

    SIGTERM and SIGINT ask to stop, and so does the end of standard input under a supervisor, so that nobody is left
    behind when the supervisor is killed.
    """
    gc.set_threshold(_NEW_OBJECTS)
    try:
        with asyncio.Runner(loop_factory=EventLoop) as runner:
            runner.run(_supervised(serve))
    except (StartupError, EndedError, BaseExceptionGroup) as error:
        return _report(error)
    return 0


async def _supervised(serve: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        loop.add_reader(sys.stdin.fileno(), _read_lifeline, loop, stop)
    await serve(stop)


def _read_lifeline(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def _report(error: BaseException) -> int:
    """Tells what nothing but the process's end can answer, in one line; what is a fault of ours is raised."""
    group = error if isinstance(error, BaseExceptionGroup) else BaseExceptionGroup("", [error])
    for kind, code in _EXITS.items():
        if told := group.subgroup(kind):
            sys.stderr.write(f"{' '.join(str(_leaf(told)).split())}\n")
            return code
    raise error


def _leaf(error: BaseException) -> BaseException:
    return _leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
