"""How old events are when they reach subscribers in other processes."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Final

from tests.bench.processes import BenchError, cpu_seconds

_UNIT_MS: Final = 0.1
_END_SECONDS: Final = 10.0


class Audience:
    """Processes of subscribers, all of them at the head of the log."""

    def __init__(self, processes: list["subprocess.Popen[str]"], log: Path) -> None:
        self._processes = processes
        self._log = log
        for process in processes:
            self._read(process)

    def cpu_seconds(self) -> float:
        """CPU time of all of them so far."""
        return sum(cpu_seconds(process.pid) for process in self._processes)

    def take(self) -> Counter[int]:
        """How many events have arrived since the last time, at all of them together, by age.

        Raises:
            BenchError: One of the processes has ended.
        """
        for process in self._processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended, as reading its answer will say
                process.stdin.write("\n")
                process.stdin.flush()
        taken: Counter[int] = Counter()
        for process in self._processes:
            taken.update({int(age): count for age, count in json.loads(self._read(process)).items()})
        return taken

    def _read(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            said = self._log.read_text().strip().splitlines() or ["nothing"]
            raise BenchError(f"subscribers have ended; they said: {said[-1]}")
        return line


@contextmanager
def audience(address: str, folder: Path, *, processes: int, subscribers: int, filters: int) -> Iterator[Audience]:
    """So many subscribers, shared evenly by so many processes, live while the context lasts.

    They read under so many different filters, each of which lets every event through.
    """
    log = folder / "subscribers.log"
    each = ("--address", address, "--subscribers", str(subscribers // processes), "--filters", str(filters))
    command = [sys.executable, "-m", "tests.bench.live_subscribers", *each]
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True)
            for _ in range(processes)
        ]
        for process in started:
            stack.callback(_end, process)
        yield Audience(started, log)


def _end(process: "subprocess.Popen[str]") -> None:
    try:
        process.communicate(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def percentile_ms(ages: Mapping[int, int], percent: float) -> float:
    """The age that so many percent of the events do not exceed, in milliseconds, exact to a tenth of one."""
    in_order = sorted(ages)
    wanted = sum(ages.values()) * percent / 100
    counted = accumulate(ages[age] for age in in_order)
    return next(age for age, count in zip(in_order, counted, strict=True) if count >= wanted) * _UNIT_MS
