"""Acks whose result has not come yet. They outlive the stream: the next one carries them again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final

from stateset.common.v1.position_pb2 import Position
from stateset.stream.v1 import stream_pb2 as stream

from stateset_client.batch import AckResult, AckStatus, Settled
from stateset_client.errors import StateSetError

_STATUS: Final[Mapping[int, AckStatus]] = {
    stream.ACK_STATUS_COMMITTED: AckStatus.COMMITTED,
    stream.ACK_STATUS_FENCED: AckStatus.FENCED,
    stream.ACK_STATUS_ALREADY: AckStatus.ALREADY,
    stream.ACK_STATUS_OUT_OF_ORDER: AckStatus.OUT_OF_ORDER,
    stream.ACK_STATUS_UNKNOWN: AckStatus.UNKNOWN,
    stream.ACK_STATUS_PARKING_FULL: AckStatus.PARKING_FULL,
}


class PendingAcks:
    """One future per ack that waits. Each belongs to a caller that awaits it, so their number is the callers'."""

    def __init__(self, send: Callable[[stream.ClientFrame], None]) -> None:
        self._send = send
        self._ids = count(1)
        self._waiting: dict[str, tuple[stream.ClientFrame, asyncio.Future[AckResult]]] = {}
        self._error: StateSetError | None = None

    async def ack(self, through: Position, timeout_seconds: float) -> AckResult:
        """Sends an ack of a position and waits for its result.

        Raises:
            TimeoutError: None came in time; the ack may have been committed all the same.
            StateSetError: The stream has ended for good.
        """
        return await self._result(stream.Ack(through=through), timeout_seconds)

    async def settle(self, settled: Sequence[Settled], timeout_seconds: float) -> AckResult:
        """Sends an ack of single events and waits for its result; raises as `ack` does."""
        return await self._result(stream.Ack(items=map(_item, settled)), timeout_seconds)

    async def _result(self, ack: stream.Ack, timeout_seconds: float) -> AckResult:
        if self._error is not None:
            raise self._error
        ack_id = str(next(self._ids))
        ack.ack_id = ack_id
        frame = stream.ClientFrame(ack=ack)
        result: asyncio.Future[AckResult] = asyncio.get_running_loop().create_future()
        self._waiting[ack_id] = (frame, result)
        self._send(frame)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await result
        finally:
            del self._waiting[ack_id]

    def send_again(self) -> None:
        """Sends every ack that still waits, on a stream that is new."""
        for frame, _ in self._waiting.values():
            self._send(frame)

    def resolve(self, result: stream.AckResult, arrivals: int) -> None:
        """Answers the ack's caller, if it still waits. A status of tomorrow's says that nothing is known: none."""
        _, waiting = self._waiting.get(result.ack_id, (None, None))
        status = _STATUS.get(result.status)
        if waiting is not None and status is not None and not waiting.done():
            items = [_STATUS.get(item.status, AckStatus.UNKNOWN) for item in result.items]
            waiting.set_result(AckResult(status=status, floor=result.floor, items=items, arrivals=arrivals))

    def fail(self, error: StateSetError) -> None:
        """No result will come any more."""
        self._error = self._error or error
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)


def _item(settled: Settled) -> stream.AckItem:
    item = stream.AckItem(
        shard=settled.event.shard, seq=settled.event.seq, outcome=settled.outcome.value, reason=settled.reason
    )
    item.delay.FromMicroseconds(round(settled.delay_seconds * 1e6))
    return item
