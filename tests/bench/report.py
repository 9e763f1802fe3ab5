"""What the bench found: for people a table, for programs a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.rounds import SATURATED_CPU_SHARE, Figures, Sample, cpu_us_per_unit, figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Ours against a bare server, by CPU time.

    Attributes:
        unit: What one unit of work is, such as "call".
        reference: The samples of the bare server.
        ours: The samples of ours, taken in turn with those.
    """

    unit: str
    reference: Sequence[Sample]
    ours: Sequence[Sample]

    @property
    def ratio(self) -> float:
        """Above 1, ours needs less CPU than the reference; below, more."""
        return figures(self.reference).cpu_us_per_unit / figures(self.ours).cpu_us_per_unit

    @property
    def spread(self) -> tuple[float, float]:
        """The ratios of the rounds, least and greatest: how far the machine lets this one be trusted."""
        ratios = [
            cpu_us_per_unit(theirs) / cpu_us_per_unit(mine)
            for theirs, mine in zip(self.reference, self.ours, strict=True)
        ]
        return min(ratios), max(ratios)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A figure that has no other server's beside it, at most a goal.

    Attributes:
        value: The figure.
        unit: Of value and goal.
        goal: What is wanted; none if nothing was asked for.
        more_is_better: The goal is the least that is wanted, not the most.
        rests_on: By name whatever else is to be known to judge it.
        caveat: How it was measured otherwise than the goal asks; empty if it was not.
    """

    value: float
    unit: str
    goal: float | None
    more_is_better: bool
    rests_on: Mapping[str, object]
    caveat: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is reached, and in what other circumstances."""
        return f"{self._verdict} ({self.caveat})" if self.caveat else self._verdict

    @property
    def _verdict(self) -> str:
        if self.goal is None:
            return "no goal"
        reached = self.value >= self.goal if self.more_is_better else self.value <= self.goal
        return "PASS" if reached else "short of goal"


Outcome = Comparison | Reading


def write_json(outcomes: Mapping[str, Outcome], path: Path) -> None:
    """Writes one entry per outcome: `value`, `unit`, `reference` and `ratio` or null, and what they rest on."""
    entries = {
        name: _compared(outcome) if isinstance(outcome, Comparison) else _read(outcome)
        for name, outcome in outcomes.items()
    }
    path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")


def _read(reading: Reading) -> dict[str, object]:
    return {
        "value": round(reading.value, 3),
        "unit": reading.unit,
        "reference": None,
        "ratio": None,
        "goal": reading.goal,
        "verdict": reading.verdict,
        **reading.rests_on,
    }


def _compared(result: Comparison) -> dict[str, object]:
    ours, reference = figures(result.ours), figures(result.reference)
    return {
        "value": round(ours.cpu_us_per_unit, 3),
        "unit": f"µs of server CPU per {result.unit}",
        "reference": round(reference.cpu_us_per_unit, 3),
        "ratio": round(result.ratio, 3),
        "ratio_least": round(result.spread[0], 3),
        "ratio_greatest": round(result.spread[1], 3),
        "saturated": ours.saturated and reference.saturated,
        "rounds": len(result.ours),
        "per_second": {"value": round(ours.units_per_second), "reference": round(reference.units_per_second)},
        "cpu_share": {"value": round(ours.cpu_share, 2), "reference": round(reference.cpu_share, 2)},
    }


def show(outcomes: Mapping[str, Outcome], console: Console) -> None:
    """Prints a table of each kind, and below it what must be known to read it."""
    comparisons = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Comparison)}
    readings = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Reading)}
    if comparisons:
        _show_comparisons(comparisons, console)
    if readings:
        _show_readings(readings, console)


def _show_readings(readings: Mapping[str, Reading], console: Console) -> None:
    table = Table(title="On this machine, everything on it together")
    table.add_column("name", no_wrap=True)
    for heading in ("value", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    table.add_column("verdict")
    for name, reading in readings.items():
        sign = "≥" if reading.more_is_better else "≤"
        goal = "–" if reading.goal is None else f"{sign} {reading.goal:,g}"
        table.add_row(name, f"{reading.value:,.1f}", goal, reading.unit, reading.verdict)
    console.print(table)
    notes: dict[str, list[str]] = {}
    for name, reading in readings.items():
        notes.setdefault(", ".join(f"{key} {value}" for key, value in reading.rests_on.items()), []).append(name)
    for note, names in notes.items():
        console.print(f"{', '.join(names)}: {note}")


def _show_comparisons(results: Mapping[str, Comparison], console: Console) -> None:
    table = Table(title="CPU of the server process, reference ÷ ours")
    table.add_column("name", no_wrap=True)
    table.add_column("server")
    for heading in ("µs CPU / unit", "units / s", "CPU", "load's CPU", "ratio", "of the rounds"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        least, greatest = result.spread
        verdict = (f"{result.ratio:.3f}", f"{least:.2f} … {greatest:.2f}")
        table.add_row(name, "reference", *_cells(figures(result.reference)))
        table.add_row(f"  per {result.unit}", "ours", *_cells(figures(result.ours)), *verdict, end_section=True)
    console.print(table)
    for name, result in results.items():
        for server, samples in (("reference", result.reference), ("ours", result.ours)):
            _warn(name, server, figures(samples), console)


def _cells(found: Figures) -> tuple[str, str, str, str]:
    return (
        f"{found.cpu_us_per_unit:.2f}",
        f"{found.units_per_second:,.0f}",
        f"{found.cpu_share:.0%}",
        f"{found.load_cpu_share:.0%}",
    )


def _warn(name: str, server: str, found: Figures, console: Console) -> None:
    if not found.saturated:
        least = f"{SATURATED_CPU_SHARE:.0%}"
        console.print(f"{name}: not saturated: {server} used {found.cpu_share:.0%} of a core, not {least} or more")
