"""What a handler does with events that cross its own RETRY on the wire."""

import asyncio

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client import AckResult, AckStatus, Arrivals, Batch, EventHandler, Outcome, RetryPolicy, Settled

from tests.harness.waiting import eventually


class Script:
    """A subscription whose arrivals the test gives, and whose results come when it says."""

    def __init__(self) -> None:
        self.arrivals: asyncio.Queue[Arrivals] = asyncio.Queue()
        self.settled: list[tuple[int, Outcome]] = []
        self.status = AckStatus.COMMITTED
        self._answering = asyncio.Event()
        self._arrivals = self._answered = 0

    def answer(self) -> None:
        """From now on: what arrived before this had been sent before the answer."""
        self._answered = self._arrivals
        self._answering.set()

    def arrive(self, *versions: int, attempts: tuple[int, ...] = (), delivery_epoch: int = 1) -> None:
        events = [OrderEvent(order_id="o-1", version=version, shard=0, seq=version) for version in versions]
        self._arrivals += 1
        batch = Batch(
            shard=0,
            first_seq=versions[0],
            last_seq=versions[-1],
            events=events,
            position=Position(),
            delivery_epoch=delivery_epoch,
            attempts=attempts,
            arrival=self._arrivals,
        )
        self.arrivals.put_nowait(Arrivals(batches=[batch], progress=None, events=len(events), size_bytes=0))

    async def take(self, *, events_max: int) -> Arrivals:
        assert events_max
        return await self.arrivals.get()

    async def settle(self, settled: Settled) -> AckResult:
        self.settled.append((settled.event.version, settled.outcome))
        await self._answering.wait()
        return AckResult(status=self.status, floor=Position(), items=[self.status], arrivals=self._answered)


async def test_an_event_that_was_sent_before_the_server_knew_of_a_retry_waits_for_its_turn() -> None:
    handled: list[int] = []

    async def handle(event: OrderEvent) -> None:
        handled.append(event.version)
        if handled == [1]:
            raise OSError("away")

    script = Script()
    handler = EventHandler(script, handle, policy=RetryPolicy(delay_seconds=0))  # type: ignore[arg-type]  # the two methods that it calls
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1)
    await eventually(lambda: script.settled == [(1, Outcome.RETRY)])
    script.arrive(2, 3)
    await eventually(script.arrivals.empty)
    script.answer()
    script.arrive(1, 2, attempts=(2, 1))
    script.arrive(3, attempts=(1,))
    script.arrive(4)
    await eventually(lambda: len(handled) == 5)
    assert handled == [1, 1, 2, 3, 4]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_event_that_fails_after_the_stream_has_changed_takes_nothing_of_the_new_stream_with_it() -> None:
    handled: list[int] = []
    gate = asyncio.Event()

    async def handle(event: OrderEvent) -> None:
        handled.append(event.version)
        if handled == [1]:
            await gate.wait()
            raise OSError("away")

    script = Script()
    script.answer()
    handler = EventHandler(script, handle, policy=RetryPolicy(delay_seconds=0))  # type: ignore[arg-type]  # as above
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1)
    await eventually(lambda: handled == [1])
    script.arrive(1, 2, delivery_epoch=2)
    await eventually(script.arrivals.empty)
    gate.set()
    await eventually(lambda: len(script.settled) == 2)
    assert script.settled == [(1, Outcome.DONE), (2, Outcome.DONE)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("status", [AckStatus.ALREADY, AckStatus.OUT_OF_ORDER])
async def test_what_the_server_does_not_hold_back_is_not_left_out(status: AckStatus) -> None:
    """As when an event is done by an answer that outlived its stream, comes again on the new one, and fails there."""
    handled: list[int] = []

    async def handle(event: OrderEvent) -> None:
        handled.append(event.version)
        if handled == [1]:
            raise OSError("away")

    script = Script()
    script.status = status
    handler = EventHandler(script, handle, policy=RetryPolicy(delay_seconds=0))  # type: ignore[arg-type]  # as above
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1, 2)
    await eventually(lambda: script.settled == [(1, Outcome.RETRY)])
    script.arrive(3)
    script.answer()
    await eventually(lambda: handled == [1, 2, 3])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_nothing_of_a_stream_is_settled_once_the_next_one_has_answered() -> None:
    """Else what follows the event there could be finished before it."""
    handled: list[int] = []

    async def handle(event: OrderEvent) -> None:
        handled.append(event.version)

    script = Script()
    script.status = AckStatus.UNKNOWN
    handler = EventHandler(script, handle)  # type: ignore[arg-type]  # as above
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1, 2)
    await eventually(lambda: script.settled == [(1, Outcome.DONE)])
    script.answer()
    await eventually(lambda: "handle-o-1" not in {task.get_name() for task in asyncio.all_tasks()})
    script.status = AckStatus.COMMITTED
    script.arrive(1, 2, delivery_epoch=2)
    await eventually(lambda: handled == [1, 1, 2])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_cancellation_that_the_handler_only_hears_of_is_tried_again_and_parked_in_the_end() -> None:
    """As when it awaits a task of somebody else's that was canceled."""

    async def handle(event: OrderEvent) -> None:
        if event.version == 1:
            raise asyncio.CancelledError

    script = Script()
    script.answer()
    handler = EventHandler(script, handle, policy=RetryPolicy(attempts_max=2, delay_seconds=0))  # type: ignore[arg-type]  # as above
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1)
    script.arrive(1, attempts=(2,))
    await eventually(lambda: script.settled == [(1, Outcome.RETRY), (1, Outcome.PARK_KEY)])
    script.arrive(2)
    await eventually(lambda: script.settled[2:] == [(2, Outcome.DONE)])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_worker_that_is_canceled_ends_and_leaves_no_line_behind() -> None:
    handled: list[int] = []

    async def handle(event: OrderEvent) -> None:
        handled.append(event.version)
        if event.version == 1:
            await asyncio.Event().wait()

    script = Script()
    script.answer()
    handler = EventHandler(script, handle)  # type: ignore[arg-type]  # as above
    running = asyncio.create_task(handler.run(), name="handling")
    script.arrive(1)
    await eventually(lambda: handled == [1])
    next(task for task in asyncio.all_tasks() if task.get_name() == "handle-o-1").cancel()
    await eventually(lambda: "handle-o-1" not in {task.get_name() for task in asyncio.all_tasks()})
    assert script.settled == []
    script.arrive(2)
    await eventually(lambda: script.settled == [(2, Outcome.DONE)])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
