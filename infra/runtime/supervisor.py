"""Child processes: started in order, restarted when they die, stopped in reverse order, never left behind."""

import asyncio
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import BinaryIO, Final, NoReturn

from infra.runtime.lifespan import EXIT_UNUSABLE, SUPERVISED, StartupError

READY_SECONDS: Final = 60.0  # a service starts in one to three seconds; a crowded machine may need twenty times that
STOP_SECONDS: Final = 15.0  # a gRPC server drains within ten, the gateway beside it mostly in far less
UNUSABLE_DELAY_SECONDS: Final = 30.0  # starting again helps only once somebody has done what the child's line says
LOG_BYTES_MAX: Final = 8_388_608  # looked at when a child starts; what is longer becomes NAME.log.1
_READY_POLL_SECONDS: Final = 0.05
_LINE_BYTES_MAX: Final = 1000
_FRAME: Final = "|+- \r\t"  # what Python draws around the errors of a group
_DELAY_SECONDS: Final = 0.1
_DELAY_SECONDS_MAX: Final = 2.0
_DOUBLINGS_MAX: Final = 10  # far above the maximum, and far below what a float can hold
_HEALTHY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run.

    Attributes:
        name: One word; also the name of its log.
        command: The executable and its arguments, which every user of the machine can see.
        is_ready: Whether the running child serves. Never raises, and answers within about a second.
        environment: Variables beside our own, which only its user can see.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a dead child stays dead: 0.1 s at first, then twice as long each time, at most 2 s.

    The death of a child that had been healthy for ten seconds counts as the first again.
    """

    deaths_in_a_row: int = 0

    def after_death(self, *, healthy_seconds: float) -> "Backoff":
        """With one more death, of a child that had been healthy for this long."""
        return Backoff(deaths_in_a_row=1 if healthy_seconds >= _HEALTHY_SECONDS else self.deaths_in_a_row + 1)

    @property
    def delay_seconds(self) -> float:
        """The wait before the next start."""
        doublings = min(self.deaths_in_a_row - 1, _DOUBLINGS_MAX)
        return min(_DELAY_SECONDS * 2.0**doublings, _DELAY_SECONDS_MAX)


class Child:
    """One supervised program: the process that runs now, if one does, and how it is doing."""

    def __init__(self, program: Program, log: Path, tell: Callable[[str], None]) -> None:
        self.name = program.name
        self.ready = asyncio.Event()
        self.deaths = 0
        self._program = program
        self._log = log
        self._tell = tell
        self._process: Process | None = None
        self._has_served = False

    @property
    def pid(self) -> int | None:
        """The process that runs now; none between a death and the next start."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep(self) -> NoReturn:
        """Runs the program again and again, until it is cancelled; that leaves the process to `stop`.

        Raises:
            StartupError: The program, which has never been ready, cannot start as it was told to, and its own line says
                why; or it can have no log.
        """
        backoff = Backoff()
        while True:
            code, healthy_seconds, last_line = await self._live()
            if code == EXIT_UNUSABLE and not self._has_served:
                raise StartupError(f"{self.name}: {last_line or f'cannot start; see {self._log}'}")
            self.deaths += 1
            backoff = backoff.after_death(healthy_seconds=healthy_seconds)
            delay_seconds = UNUSABLE_DELAY_SECONDS if code == EXIT_UNUSABLE else backoff.delay_seconds
            # Who is killed, or asked to end, has no last word: its last line is about something else.
            said = f": {last_line}" if last_line and code not in (0, -SIGKILL) else ""
            self._tell(f"{self.name} {_how(code)}, starts again in {delay_seconds:.1f} s{said}")
            await asyncio.sleep(delay_seconds)

    async def stop(self) -> None:
        """Asks the process to end, waits for at most `STOP_SECONDS`, then kills it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            self._tell(f"{self.name} did not stop within {STOP_SECONDS:.0f} s and was killed; see {self._log}")
            process.kill()
            await process.wait()

    async def _live(self) -> tuple[int, float, str]:
        """One life: its exit code, how long it was healthy, the last line it wrote."""
        with _open_log(self._log) as log:
            log_start = log.tell()
            self._process = await _spawn(self._program, log)
        async with asyncio.TaskGroup() as group:
            ready = group.create_task(self._await_ready(), name=f"ready-{self.name}")
            code = await self._process.wait()
            ready.cancel()
        healthy_seconds = time.monotonic() - ready.result() if self.ready.is_set() else 0.0
        self.ready.clear()
        return code, healthy_seconds, _last_line(self._log, log_start)

    async def _await_ready(self) -> float:
        """Polls until the child serves; returns the monotonic time of that."""
        started = time.monotonic()
        while not await self._program.is_ready():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(_READY_POLL_SECONDS)
        self._has_served = True
        self.ready.set()
        self._tell(f"{self.name} is ready after {time.monotonic() - started:.1f} s")
        return time.monotonic()


@asynccontextmanager
async def supervise(
    programs: Sequence[Program], *, logs: Path, tell: Callable[[str], None]
) -> AsyncIterator[dict[str, Child]]:
    """Runs the programs while the context lasts; each is ready before the next one is started.

    Standard output and error of a child go to `NAME.log` in `logs`. Its standard input is a pipe that nobody writes to:
    when this process dies, however it dies, the pipe ends and the child stops by itself.

    Yields:
        The children by name, all of them ready.

    Raises:
        StartupError: One cannot start as told, or is not ready in time. Also out of the running context, in a group.
    """
    children = {program.name: Child(program, logs / f"{program.name}.log", tell) for program in programs}
    async with asyncio.TaskGroup() as group:
        keepers: list[asyncio.Task[NoReturn]] = []
        try:
            for child in children.values():
                keepers.append(group.create_task(child.keep(), name=f"keep-{child.name}"))
                await _first_ready(child, logs)
            yield children
        finally:
            for keeper in keepers:
                keeper.cancel()
            if keepers:
                await asyncio.wait(keepers)
            for child in reversed(children.values()):
                await child.stop()


async def _first_ready(child: Child, logs: Path) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await child.ready.wait()
    except TimeoutError as error:
        raise StartupError(
            f"{child.name} did not become ready within {READY_SECONDS:.0f} s; see {logs / child.name}.log"
        ) from error


async def _spawn(program: Program, log: BinaryIO) -> Process:
    return await asyncio.create_subprocess_exec(
        *program.command,
        stdin=PIPE,
        stdout=log,
        stderr=log,
        env={**os.environ, **program.environment, SUPERVISED: "1"},
        start_new_session=True,  # Ctrl-C reaches us alone: the children stop in our order
    )


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _open_log(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_name(f"{path.name}.1"))
        return path.open("ab")
    except OSError as error:
        raise StartupError(f"cannot write the log {path} ({error.strerror}): see that it can be written") from error


def _last_line(path: Path, start: int) -> str:
    """The last line with words in it that was written after byte `start`, without the frame of an exception group."""
    with path.open("rb") as log:
        log.seek(max(start, path.stat().st_size - _LINE_BYTES_MAX))
        lines = log.read().decode(errors="replace").split("\n")
    return next((line.strip(_FRAME) for line in reversed(lines) if any(map(str.isalpha, line))), "")
