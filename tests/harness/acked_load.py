"""Subscribers of one subscription that answer every event by itself, and write down what they see."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc
from stateset_client import (
    AckResult,
    Arrivals,
    EventHandler,
    FencedError,
    RetryPolicy,
    Settled,
    StreamLimits,
    Subscription,
)

from tests.harness.ack_history import Entry, Place

NAME = "acked"
_LIMITS = StreamLimits(unacked_events_max=200, heartbeat_seconds=1.0)
_POLICY = RetryPolicy(attempts_max=3, delay_seconds=0.001)
_FAILURES_SHARE = 0.15


class AckedLoad:
    """What all subscribers of a campaign have seen together."""

    def __init__(self, seed: int) -> None:
        self.history: list[Entry] = []
        self._drawn = random.Random(seed)  # noqa: S311 - the seed is the point

    @asynccontextmanager
    async def subscriber(self, address: str) -> AsyncIterator[None]:
        """Handles events while the context lasts, or until another subscriber has taken over."""
        async with _Witness(address, self.history) as subscription:
            handler = EventHandler(subscription, self._handle, policy=_POLICY)
            task = asyncio.create_task(handler.run(), name="acked-load")
            try:
                yield
            finally:
                task.cancel()
                (ended,) = await asyncio.gather(task, return_exceptions=True)
                assert isinstance(ended, FencedError | asyncio.CancelledError), ended

    async def _handle(self, _event: OrderEvent) -> None:
        if self._drawn.random() < _FAILURES_SHARE:
            raise OSError("as the seed decided")


class _Witness(Subscription):
    def __init__(self, address: str, history: list[Entry]) -> None:
        super().__init__(address, NAME, limits=_LIMITS)
        self._history = history
        self._epoch = 0

    async def take(self, *, events_max: int) -> Arrivals:
        arrivals = await super().take(events_max=events_max)
        for batch in arrivals.batches:
            self._epoch = batch.delivery_epoch
            for event in batch.events:
                self._history.append(self._entry("delivered", event))
        return arrivals

    async def settle(self, *settled: Settled, timeout_seconds: float = 10.0) -> AckResult:
        (one,) = settled
        self._history.append(self._entry("asked", one.event, one.outcome.name))
        result = await super().settle(one, timeout_seconds=timeout_seconds)
        self._history.append(self._entry("settled", one.event, one.outcome.name, result.items[0].name))
        return result

    def _entry(self, kind: str, event: OrderEvent, outcome: str = "", status: str = "") -> Entry:
        return Entry(
            kind=kind,  # type: ignore[arg-type]  # one of its three
            stream=self._epoch,
            place=(event.shard, event.seq),
            order=(event.order_id, event.version),
            outcome=outcome,
            status=status,
        )


async def parked(channel: grpc.aio.Channel) -> set[Place]:
    """What lies in the parking place, as far as its first page shows."""
    stub = sync_service_pb2_grpc.SyncServiceStub(channel)
    page = await stub.ListParked(sync_service_pb2.ListParkedRequest(subscription=NAME, page_size=500))
    return {(each.event.shard, each.event.seq) for each in page.parked}


async def replay_all(channel: grpc.aio.Channel) -> None:
    """Has everything that is parked sent again."""
    stub = sync_service_pb2_grpc.SyncServiceStub(channel)
    await stub.ReplayParked(sync_service_pb2.ReplayParkedRequest(subscription=NAME, all=True))
