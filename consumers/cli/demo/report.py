"""The report: a table for people, a JSON file for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from consumers.cli.demo.checks import Check, money
from consumers.cli.demo.figures import Skipped

_LOG_COLUMNS: Final = 140


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a demo found.

    Attributes:
        bus: How the events travelled.
        database: What the services stored them in.
        orders: Orders replayed.
        events: Events in the log.
        seconds: From the first command until every service had caught up.
        skipped: What of the input cannot be ordered.
        restarts: How often the supervisor had to start a service again.
        checks: Every figure, expected and actual.
    """

    bus: str
    database: str
    orders: int
    events: int
    seconds: float
    skipped: Skipped
    restarts: int
    checks: Sequence[Check]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


def write_json(report: Report, path: Path) -> None:
    """Writes the report; a reader sees the old file or the new one, never half of one."""
    content = {"ok": report.ok, **asdict(report), "seconds": round(report.seconds, 3)}
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def open_console() -> Console:
    """Standard output: as wide as the terminal is, or as a log's reader has it."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_COLUMNS)


def show(report: Report, console: Console) -> None:
    """Prints the report as a table."""
    table = Table(title="Expected from the file by DuckDB, actual from the services")
    for heading in ("check", "expected", "actual", ""):
        table.add_column(heading, overflow="fold")
    for check in report.checks:
        mark = "[green]ok[/]" if check.ok else "[bold red]WRONG[/]"
        table.add_row(check.name, str(check.expected), str(check.actual), mark)
    console.print(table)
    console.print(
        f"{report.orders} orders, {report.events} events in {report.seconds:.1f} s "
        f"({report.events / report.seconds:.0f} events/s), {report.restarts} restarts.",
        highlight=False,
    )
    console.print(_skipped(report.skipped), highlight=False)


def _skipped(skipped: Skipped) -> str:
    return (
        f"Left out on both sides: rows of quantity 0, which no order line can have: {skipped.rows} "
        f"(sales value {money(skipped.cents)}); baskets of nothing else, which became no order: {skipped.baskets}."
    )
