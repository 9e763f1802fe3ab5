"""What a process is given before it serves."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from infra.runtime.lifespan import run


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
