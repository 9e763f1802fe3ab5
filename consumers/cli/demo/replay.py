"""The replay: many orders at once, each one's commands in sequence, every command safe to repeat."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from stateset.order.v1.fulfillment_service_pb2 import RecordDeliveryRequest, RecordShipmentRequest
from stateset.order.v1.order_service_pb2 import (
    AcceptOrderRequest,
    CancelOrderRequest,
    PlaceOrderRequest,
    RecordFillRequest,
)
from stateset_client import OrderClient

from consumers.cli.demo.baskets import Basket
from consumers.cli.demo.commands import Command, commands

IN_FLIGHT_MAX: Final = 64  # orders; more only lengthens the queue in front of the writer
COMMAND_SECONDS: Final = 60.0  # its repetitions included: a killed service is back within five, and may be killed again


class Replay:
    """One run over some baskets.

    Args:
        client: Where the commands go.
        speed: Times the speed of life; none for as fast as it goes.
        after_command: Awaited after each answered command, with how many there are so far.
    """

    def __init__(
        self, client: OrderClient, *, speed: float | None, after_command: Callable[[int], Awaitable[None]]
    ) -> None:
        self._send: Mapping[type[Command], Callable[..., Awaitable[Any]]] = {
            PlaceOrderRequest: client.place_order,
            AcceptOrderRequest: client.accept_order,
            CancelOrderRequest: client.cancel_order,
            RecordFillRequest: client.record_fill,
            RecordShipmentRequest: client.record_shipment,
            RecordDeliveryRequest: client.record_delivery,
        }
        self._speed = speed
        self._after_command = after_command
        self._answered = 0

    async def run(self, baskets: Sequence[Basket]) -> int:
        """Replays the baskets in the sequence of their times; returns how many commands were answered.

        Raises:
            ExceptionGroup: A command was refused, or was not answered within `COMMAND_SECONDS`.
        """
        waiting = iter(baskets)
        pace = _Pace(baskets[0].time_us, self._speed) if baskets else None
        async with asyncio.TaskGroup() as group:
            for number in range(min(IN_FLIGHT_MAX, len(baskets))):
                group.create_task(self._replay(waiting, pace), name=f"replay-{number}")
        return self._answered

    async def _replay(self, waiting: Iterator[Basket], pace: "_Pace | None") -> None:
        for basket in waiting:
            if pace is not None:
                await pace.wait_for(basket.time_us)
            for command in commands(basket):
                await self._send[type(command)](command, timeout_seconds=COMMAND_SECONDS)
                self._answered += 1
                await self._after_command(self._answered)


class _Pace:
    """Maps the baskets' times to ours."""

    def __init__(self, first_us: int, speed: float | None) -> None:
        self._first_us = first_us
        self._speed = speed
        self._started = time.monotonic()

    async def wait_for(self, time_us: int) -> None:
        """Returns when it is as late here, times the speed, as it was there; at once without a speed."""
        if self._speed is not None:
            due = self._started + (time_us - self._first_us) / 1e6 / self._speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
