"""Two servers measured in turn, in short rounds, so that a machine that changes its mind is unfair to neither."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Final, Protocol

SATURATED_CPU_SHARE: Final = 0.9  # of one core; below it a server was waiting, and its CPU per unit says less
WARM_UP_SECONDS: Final = 0.5


class Workload(Protocol):
    """What keeps a server busy, one stretch of time after the other."""

    def run(self, seconds: float) -> int:
        """Units of work that the server did within the next `seconds`.

        Raises:
            BenchError: One of them failed.
        """


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two servers.

    Attributes:
        name: For the table.
        cpu_seconds: The server process's CPU time so far.
        open_load: Loads the server while the context lasts.
    """

    name: str
    cpu_seconds: Callable[[], float]
    open_load: Callable[[], AbstractContextManager[Workload]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one server did in one round.

    Attributes:
        units: Of work done.
        seconds: How long the round was.
        cpu_seconds: The server's CPU time in it.
        load_cpu_seconds: The load generator's.
    """

    units: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The medians of one server's rounds; a share is of one core."""

    cpu_us_per_unit: float
    units_per_second: float
    cpu_share: float
    load_cpu_share: float

    @property
    def saturated(self) -> bool:
        """Whether it was kept busy."""
        return self.cpu_share >= SATURATED_CPU_SHARE


def alternate(
    reference: Contender, ours: Contender, *, rounds: int, seconds: float
) -> tuple[list[Sample], list[Sample]]:
    """Measures the two in turn, `seconds` each, after a warm-up; returns the reference's samples and ours."""
    samples: tuple[list[Sample], list[Sample]] = ([], [])
    for _ in range(rounds):
        for contender, mine in zip((reference, ours), samples, strict=True):
            mine.append(_measure(contender, seconds))
    return samples


def figures(samples: Sequence[Sample]) -> Figures:
    """The medians."""
    return Figures(
        cpu_us_per_unit=median(cpu_us_per_unit(sample) for sample in samples),
        units_per_second=median(sample.units / sample.seconds for sample in samples),
        cpu_share=median(sample.cpu_seconds / sample.seconds for sample in samples),
        load_cpu_share=median(sample.load_cpu_seconds / sample.seconds for sample in samples),
    )


def cpu_us_per_unit(sample: Sample) -> float:
    """The server's CPU time for one unit of work, in microseconds."""
    return sample.cpu_seconds * 1e6 / sample.units


def _measure(contender: Contender, seconds: float) -> Sample:
    with contender.open_load() as load:
        load.run(WARM_UP_SECONDS)
        started, cpu, load_cpu = time.perf_counter(), contender.cpu_seconds(), time.process_time()
        units = load.run(seconds)
        return Sample(
            units=units,
            seconds=time.perf_counter() - started,
            cpu_seconds=contender.cpu_seconds() - cpu,
            load_cpu_seconds=time.process_time() - load_cpu,
        )
