"""The alarms of all streams."""

import asyncio

from sync.application.beats import Beats


async def test_whoever_is_due_is_woken_once_and_nobody_before() -> None:
    beats, woken = Beats(), asyncio.Queue[str]()
    now = asyncio.get_running_loop().time()

    def first() -> None:
        woken.put_nowait("first")

    beats.at(now + 0.05, first)
    beats.at(now + 0.05, first)
    beats.at(now + 0.05, lambda: woken.put_nowait("second"))
    beats.at(now + 0.06, lambda: woken.put_nowait("third"))
    assert woken.empty()
    seen = [await woken.get() for _ in range(3)]
    assert sorted(seen) == ["first", "second", "third"]
    assert seen[2] == "third"
    assert woken.empty()


async def test_what_was_taken_back_does_not_ring() -> None:
    beats, rung = Beats(), asyncio.Event()
    now = asyncio.get_running_loop().time()

    def left() -> None:
        raise AssertionError("it has left")

    beats.at(now + 0.01, left)
    beats.at(now + 0.01, rung.set)
    beats.forget(now + 0.01, left)
    beats.forget(now, left)
    await asyncio.wait_for(rung.wait(), 10)
