"""Whose turn it is to write: nobody keeps the others waiting, and who is behind catches up."""

import asyncio

import pytest

from sync.gateway import connection
from sync.gateway.connection import Turns


class Pipe:
    """A connection whose reader takes what the test lets it."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.untaken = 1
        self.aborted = False

    def is_full(self) -> bool:
        return not self.room.is_set()

    def untaken_bytes(self) -> int:
        return self.untaken

    async def drained(self) -> None:
        await self.room.wait()

    def write(self, framed: bytes) -> None:
        raise AssertionError(framed)

    def abort(self) -> None:
        self.aborted = True


async def turns_of_the_others(turns: Turns, made: list[bool]) -> list[bool]:
    """Before which of the frames somebody else has had a turn."""
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    had = []
    for each in made:
        before = others
        await turns.next(made=each)
        had.append(others > before)
    task.cancel()
    return had


async def test_who_needs_a_frame_made_lets_the_others_have_their_turn_first() -> None:
    assert await turns_of_the_others(Turns(Pipe()), [False] * 3) == [True] * 3


async def test_frames_that_are_made_already_come_in_a_row_but_not_for_ever() -> None:
    assert await turns_of_the_others(Turns(Pipe()), [True] * 10) == [False] * 8 + [True] + [False]


async def test_a_turn_that_was_waited_for_begins_a_row() -> None:
    had = await turns_of_the_others(Turns(Pipe()), [True] * 5 + [False] + [True] * 9)
    assert had == [False] * 5 + [True] + [False] * 8 + [True]


async def test_a_full_connection_is_waited_for_whatever_is_made() -> None:
    pipe = Pipe()
    pipe.room.clear()
    waiting = asyncio.create_task(Turns(pipe).next(made=True))
    await asyncio.sleep(0)
    assert not waiting.done()
    pipe.room.set()
    await waiting


async def test_a_reader_that_takes_nothing_for_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.01)
    pipe = Pipe()
    pipe.room.clear()
    with pytest.raises(TimeoutError):
        await Turns(pipe).next(made=True)
    assert pipe.aborted
