"""What one task waits for and others ring."""

import asyncio


class Bell:
    """An event of one waiter, which silences it by hearing it. A stream has six, so they are small.

    What is rung while nobody waits is heard by the next one to wait, at once and only once.
    """

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wakes the waiter, now or as soon as there is one."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def silence(self) -> None:
        """What was rung until now is not heard."""
        self._rung = False

    async def heard(self) -> None:
        """Waits until it rings."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._rung = False
