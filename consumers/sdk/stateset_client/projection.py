"""Effect once: each event is applied in the transaction that moves the reader's checkpoint."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Final, Generic

import grpc
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1.stream_pb2 import Start

from stateset_client.batch import AckStatus, Batch, Opening, Outcome, Progress, Settled, StreamLimits
from stateset_client.checkpoint import Checkpoint, CheckpointStore, Move, Session
from stateset_client.covers import Covers
from stateset_client.errors import FencedError, PositionExpiredError, VersionGapError
from stateset_client.poison import PoisonedError, PoisonError, parking, split
from stateset_client.retry import Backoff
from stateset_client.settling import settle_until_answered
from stateset_client.snapshot import SnapshotPart
from stateset_client.snapshot_fold import SnapshotFold
from stateset_client.subscription import EARLIEST, Subscription

_ACK_SECONDS: Final = 10.0
_SETTLED_EVENTS_MAX: Final = 1_000  # in one ack


class _StartAgainError(Exception):
    """The stream does not begin at the checkpoint any more, or cannot go on: only the checkpoint is still true."""


class _MovedError(Exception):
    """The checkpoint is not where it was, or a newer reader's."""


class Projection(Generic[Session]):
    """Applies every event exactly once to a store.

    The store's checkpoint decides where reading begins. Events that an order has had already are dropped by their
    version. After the commit the server is told, so that its floor and its lag are true. Of two on one store the one
    that opened later goes on: it claims the store, and what the other had not committed by then is refused.

    With `limits.unacked_events_max`, an event for which `apply` raises a `PoisonError` is parked with its order, and
    the checkpoint passes it only once that is durable. ReplayParked brings the order back: it goes on at the next
    version, in a transaction that moves no checkpoint. What is discarded instead is missing: without a filter the
    order's next event ends the projection as a `VersionGapError`. Without that limit a `PoisonError` ends it like any
    other error.

    Args:
        address: `host:port` of the Sync Server.
        name: The subscription's.
        store: Where effects and checkpoint live.
        apply: The effect of one event; runs within a transaction, on the store's thread, and may run again after a
            rollback.
        snapshot: How a store without a checkpoint starts from the orders as they stand, and not from the first event;
            what is filled is found filled as far as it was after a crash.
        filter: AIP-160. Without one an order's versions must come without a gap.
        events_max: Most events in one transaction, but for a batch that is larger.
        limits: How much is sent ahead.
        on_commit: Is told where the store stands now, and up to when that is the whole log, where that is known.
    """

    def __init__(  # noqa: PLR0913 - a projection joins that many things
        self,
        address: str,
        name: str,
        *,
        store: CheckpointStore[Session],
        apply: Callable[[OrderEvent, Session], None],
        snapshot: SnapshotFold[Session] | None = None,
        filter: str = "",  # noqa: A002 - the contract's word
        events_max: int = 5_000,
        limits: StreamLimits | None = None,
        on_commit: Callable[[Position, Progress | None], None] = lambda _position, _progress: None,
    ) -> None:
        self._address = address
        self._name = name
        self._store = store
        self._apply = apply
        self._snapshot = snapshot
        self._filter = filter
        self._events_max = events_max
        self._limits = limits
        self._on_commit = on_commit
        self._parks = limits is not None and limits.unacked_events_max > 0
        self._covers = Covers()
        self._reached: Position | None = None
        self._committed = asyncio.Event()

    async def run(self) -> None:
        """Reads and applies until it is cancelled.

        Raises:
            PositionError: The checkpoint cannot be read from; `LogEpochChangedError` says that the log is another,
                `PositionExpiredError` that retention has taken events that the store needs. It needs the log's first
                ones where it has no checkpoint and the projection neither a snapshot nor a filter.
            FencedError: Another process moves the same checkpoint, or has taken over the subscription.
            GapError: An event is missing.
            VersionGapError: As above, seen by an order's versions.
            Exception: Whatever `apply` or the store raised; nothing of that transaction is kept.
        """
        backoff = Backoff()
        while True:
            try:
                await self._read()
            except _StartAgainError:
                await asyncio.sleep(backoff.next_seconds())

    async def _read(self) -> None:
        self._covers.clear()
        checkpoint = await self._store.load()
        if checkpoint is not None:
            self._on_commit(checkpoint.position, None)  # it is there, whenever the server may be
        async with Subscription(
            self._address,
            self._name,
            start=await self._first_start() if checkpoint is None else checkpoint.position,
            filter=self._filter,
            limits=self._limits,
            checkpoint_epoch=0 if checkpoint is None else checkpoint.delivery_epoch,
            keeps_place=True,
        ) as subscription:
            if checkpoint is not None:
                await self._claim(checkpoint, await subscription.opened())
            else:
                checkpoint = await self._first(subscription)
                self._on_commit(checkpoint.position, None)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._acknowledge(subscription), name=f"{self._name}-ack")
                    await self._consume(subscription, checkpoint.position)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from group

    async def _first_start(self) -> Start:
        return EARLIEST if self._snapshot is None else await self._snapshot.start()

    async def _first(self, subscription: Subscription) -> Checkpoint:
        if self._snapshot is not None:
            return await self._fill(self._snapshot, subscription)
        return await self._begin(await subscription.opened())

    async def _claim(self, opened_at: Checkpoint, opening: Opening) -> None:
        """Makes every shard of the store this opening's, wherever an older reader has moved it meanwhile.

        Raises:
            FencedError: It is a newer one's.
            _StartAgainError: It is claimed, and not where the stream begins.
        """
        found: Checkpoint | None = opened_at
        while found is not None and found.delivery_epoch <= opening.delivery_epoch:
            try:
                await self._store.transact(partial(self._stay, found.position, opening.delivery_epoch))
            except _MovedError:
                found = await self._store.load()
                continue
            if found.position != opened_at.position:
                raise _StartAgainError
            return
        raise FencedError.of(f"the checkpoint of {self._name} is a newer reader's")

    def _stay(self, position: Position, delivery_epoch: int, session: Session) -> None:
        for shard, seq in enumerate(position.next_seq):
            step = Move(shard=shard, first_seq=seq, next_seq=seq, delivery_epoch=delivery_epoch)
            if not self._store.move(session, step):
                raise _MovedError

    async def _fill(self, snapshot: SnapshotFold[Session], subscription: Subscription) -> Checkpoint:
        """Every part in a transaction of its own; the last one creates the checkpoint."""
        async for part in subscription.snapshot():
            checkpoint = Checkpoint(position=part.begin, delivery_epoch=part.delivery_epoch)

            def work(session: Session, part: SnapshotPart = part, checkpoint: Checkpoint = checkpoint) -> None:
                snapshot.fold(part, session)
                if part.is_last:
                    self._store.create(session, checkpoint)

            await self._create(work)
            snapshot.committed(part)
        return checkpoint

    async def _begin(self, opening: Opening) -> Checkpoint:
        if not self._filter and any(seq > 1 for seq in opening.position.next_seq):
            raise PositionExpiredError(
                f"the log begins at seq {list(opening.position.next_seq)} by shard, and a store without a checkpoint "
                "needs it from 1 on: begin with a copy of a store that has had those events, or with a snapshot",
                code=grpc.StatusCode.OUT_OF_RANGE,
                reason="POSITION_EXPIRED",
            )
        checkpoint = Checkpoint(position=opening.position, delivery_epoch=opening.delivery_epoch)
        await self._create(lambda session: self._store.create(session, checkpoint))
        return checkpoint

    async def _create(self, work: Callable[[Session], None]) -> None:
        """A transaction that may create the checkpoint. If another reader was first, its checkpoint is begun from."""
        try:
            await self._store.transact(work)
        except Exception:
            if await self._store.load() is None:
                raise
            raise _StartAgainError from None

    async def _consume(self, subscription: Subscription, position: Position) -> None:
        while True:
            arrivals = await subscription.take(events_max=self._events_max)
            if arrivals.batches:
                await self._commit(arrivals.batches, subscription)
                position = arrivals.batches[-1].position
            self._on_commit(position, arrivals.progress)

    async def _commit(self, batches: Sequence[Batch], subscription: Subscription) -> None:
        """Makes all of it durable, around what is poison."""
        while batches := self._uncovered(batches):
            try:
                await self._transact(batches, subscription)
            except PoisonedError as poisoned:
                before, behind = split(batches, poisoned.event)
                if before:
                    await self._transact(before, subscription)
                await self._park(poisoned, subscription)
                batches = behind
            else:
                return

    async def _transact(self, batches: Sequence[Batch], subscription: Subscription) -> None:
        await self._store.transact(lambda session: self._fold(batches, session))
        self._reached = batches[-1].position
        self._committed.set()
        again = [event for batch in batches if batch.attempts for event in batch.events]
        for first in range(0, len(again), _SETTLED_EVENTS_MAX):
            done = [Settled(event=event, outcome=Outcome.DONE) for event in again[first : first + _SETTLED_EVENTS_MAX]]
            # What is not committed comes again, and is known by its version.
            await settle_until_answered(subscription, done, self._name)

    async def _park(self, poisoned: PoisonedError, subscription: Subscription) -> None:
        result = await settle_until_answered(subscription, [parking(poisoned.event, poisoned.error)], self._name)
        if list(result.items) != [AckStatus.COMMITTED]:
            raise _StartAgainError
        self._covers.begin(poisoned.event, result.arrivals)

    def _fold(self, batches: Sequence[Batch], session: Session) -> None:
        """The work of one transaction. Shards are moved in one sequence by all, as another may be taking over."""
        for batch in sorted(batches, key=attrgetter("shard")):
            if not batch.attempts:
                self._move(batch, session)
        touched = {event.order_id for batch in batches for event in batch.events}
        versions = dict(self._store.versions(session, touched))
        for batch in batches:
            for event in batch.events:
                stored = versions.get(event.order_id, 0)
                if event.version <= stored:
                    continue
                if event.version > stored + 1 and not self._filter:
                    raise VersionGapError(event.order_id, stored, event.version)
                self._apply_one(event, session)
                versions[event.order_id] = event.version

    def _uncovered(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """The batches without the events that were parked with an earlier one of their order after they were sent."""
        if not self._parks:
            return batches
        kept = [batch.without(partial(self._covers.hides, arrival=batch.arrival)) for batch in batches]
        return [batch for batch, sent in zip(kept, batches, strict=True) if batch.events or not sent.attempts]

    def _apply_one(self, event: OrderEvent, session: Session) -> None:
        try:
            self._apply(event, session)
        except PoisonError as error:
            if not self._parks:
                raise
            raise PoisonedError(event, error) from error

    def _move(self, batch: Batch, session: Session) -> None:
        step = Move(
            shard=batch.shard,
            first_seq=batch.first_seq,
            next_seq=batch.last_seq + 1,
            delivery_epoch=batch.delivery_epoch,
        )
        if not self._store.move(session, step):
            raise FencedError.of(
                f"shard {batch.shard} of {self._name} is not at seq {batch.first_seq}: another moved it"
            )

    async def _acknowledge(self, subscription: Subscription) -> None:
        """Tells the server the latest commit, one ack at a time: what is committed meanwhile goes with the next."""
        while True:
            await self._committed.wait()
            self._committed.clear()
            if self._reached is None:
                continue
            try:
                result = await subscription.ack(self._reached, timeout_seconds=_ACK_SECONDS)
            except TimeoutError:
                self._committed.set()  # the server is away; the ack is only news to it, and keeps
                continue
            if result.status is AckStatus.FENCED:
                raise FencedError.of(f"another reader has taken over {self._name}")
