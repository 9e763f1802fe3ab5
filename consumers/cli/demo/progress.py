"""How far the replay is: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINES: Final = 10


class Show(Protocol):
    """Shows how many commands of how many have been answered."""

    def __call__(self, answered: int, /) -> None:
        """Shows the number. Cheap: it is called after every command."""


@contextmanager
def progress(console: Console, commands: int) -> Iterator[Show]:
    """Shows the replay of so many commands while the context lasts."""
    if not console.is_terminal:
        yield _lines(console, commands)
        return
    columns = (
        TextColumn("replay"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("commands"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("replay", total=commands)
        yield lambda answered: bar.update(task, completed=answered)


def _lines(console: Console, commands: int) -> Show:
    step = ceil(commands / _LINES)

    def show(answered: int) -> None:
        if answered % step == 0 or answered == commands:
            console.print(f"replay: {answered} of {commands} commands", highlight=False)

    return show
