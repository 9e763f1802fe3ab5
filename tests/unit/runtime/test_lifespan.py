"""What a process is given before it serves."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from infra.runtime.lifespan import EndedError, StartupError, run


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_server_does_not_look_for_cycles_at_every_turn() -> None:
    seen: list[tuple[int, int, int]] = []

    async def serve(_: asyncio.Event) -> None:
        seen.append(gc.get_threshold())

    _, *others = gc.get_threshold()
    assert run(serve) == 0
    assert seen == [(50_000, *others)]


@pytest.mark.parametrize(("error", "code"), [(StartupError("no such\nfile"), 2), (EndedError("no such\nfile"), 1)])
@pytest.mark.parametrize("depth", range(3))
def test_what_ends_a_process_is_told_in_one_line_and_by_its_code(
    capsys: pytest.CaptureFixture[str], error: Exception, code: int, depth: int
) -> None:
    async def serve(_: asyncio.Event) -> None:
        told = error
        for _level in range(depth):
            told = ExceptionGroup("tasks", [told])
        raise told

    assert run(serve) == code
    assert capsys.readouterr().err == "no such file\n"


def test_a_fault_of_ours_is_raised_as_it_is() -> None:
    async def serve(_: asyncio.Event) -> None:
        raise ExceptionGroup("tasks", [ValueError("ours")])

    with pytest.raises(ExceptionGroup, match="tasks"):
        run(serve)
