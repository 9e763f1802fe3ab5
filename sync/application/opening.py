"""Where a stream starts: what its Open asks for, compared with the log and with what is stored."""

import random
from dataclasses import replace
from typing import Final

from infra.kernel.position import (
    AtLeast,
    LogEpochChangedError,
    Position,
    PositionAheadError,
    check_filter,
    check_log,
    check_start,
)
from sync.application.accounting import Accounting
from sync.application.freshness import Freshness
from sync.application.horizons import Horizons
from sync.application.ports import EventSource, SourceUnavailableError, Subscriptions
from sync.domain.fanout import Selection
from sync.domain.frames import Open, SnapshotStart, Start, StartPoint, StartTime
from sync.domain.lag import Horizon
from sync.domain.ring import Ring
from sync.domain.subscription import Opening, Subscription, SubscriptionKey
from sync.domain.terms import Terms

_ANYWHERE: Final = 2**63 - 1  # a seq below which every event is, whatever the log holds
_SNAPSHOT_SECONDS: Final = 5.0  # that this server may be behind one where a snapshot was begun


class Openings:
    """Turns what a caller asks into the terms of its stream, or refuses before anything has changed."""

    def __init__(
        self,
        source: EventSource,
        ring: Ring,
        freshness: Freshness,
        horizons: Horizons,
        subscriptions: Subscriptions,
        accounting: Accounting,
        *,
        stream_seconds_max: float,
    ) -> None:
        self._accounting = accounting
        self._stream_seconds_max = stream_seconds_max
        self._source = source
        self._ring = ring
        self._freshness = freshness
        self._horizons = horizons
        self._subscriptions = subscriptions

    async def terms(self, asked: Open, key: SubscriptionKey | None) -> Terms:
        """The terms of the stream.

        Raises:
            EpochNeverGivenError: The caller's checkpoint has an epoch that no server can have given.
            PositionError: It cannot start where it asks to.
            StalePositionError: This server does not have yet what the snapshot goes on from.
            SubscriptionFilterChangedError: The subscription was made with another filter.
        """
        selection = Selection.of(asked.shards or tuple(range(len(self._ring.segments))), asked.term)
        stored = await self._subscriptions.find(key) if key else None
        start = await self.place(asked.start, selection, stored)
        await self._reach_snapshot(asked)
        terms = self._terms(asked, selection, start)
        if key is None:
            return terms
        taken = await self._subscriptions.open(self._opening(asked, key, selection, start))
        floors = tuple(taken.next_seq(shard) or 0 for shard in range(len(start)))
        stored_start = tuple(floors[shard] if seq else 0 for shard, seq in enumerate(terms.next_seqs))
        may_repeat = asked.unacked_events_max > 0 and taken.delivery_epoch > taken.first_epoch
        return replace(
            terms,
            next_seqs=stored_start if asked.start is StartPoint.STORED else terms.next_seqs,
            delivery_epoch=taken.delivery_epoch,
            floors=floors,
            tracking=await self._accounting.tracking(asked, key, selection, taken),
            redelivered_below=await self._beyond_all_sent() if may_repeat else None,
        )

    async def holds(self, key: SubscriptionKey, terms: Terms) -> bool:
        """Whether the stream's shards are still its own; asked once it is known here.

        What took them before, such as a Seek, ended the streams that were known then.
        """
        stored = await self._subscriptions.find(key)
        return stored is not None and all(
            stored.floors[shard].delivery_epoch == terms.delivery_epoch for shard in terms.selection.shards
        )

    def _terms(self, asked: Open, selection: Selection, start: tuple[int, ...]) -> Terms:
        """Those of a stream that has no subscription."""
        return Terms(
            log_epoch=self._freshness.position.log_epoch,
            selection=selection,
            next_seqs=_of_shards(start, selection),
            delivery_epoch=0,
            credit=asked.credit,
            heartbeat_seconds=asked.heartbeat_seconds,
            batch_events_max=asked.batch_events_max,
            silence_seconds=asked.silence_seconds,
            digest_seconds=asked.digest_seconds,
            stream_seconds=self._stream_seconds_max * random.uniform(0.9, 1.1),  # noqa: S311 - so that streams that came together do not go together
            earliest=_of_shards(self._horizons.known().earliest, selection),
            filter=asked.filter,
            snapshot_after=asked.start.after_order_id if isinstance(asked.start, SnapshotStart) else None,
        )

    async def place(self, start: Start, selection: Selection, stored: Subscription | None = None) -> tuple[int, ...]:
        """The seqs that a start means, by shard; those of the selection can be read from there.

        Raises:
            PositionError: One of them cannot.
            SourceUnavailableError: It is a time, or ahead of all that is known here, and the log cannot be asked.
        """
        return await self._checked(await self._start(start, selection, stored), selection.shards)

    async def _reach_snapshot(self, asked: Open) -> None:
        """Orders older than a snapshot's begin must not be sent: what changed them would come neither way."""
        if isinstance(asked.start, SnapshotStart):
            await self._freshness.reach(AtLeast(position=asked.start.at, seconds=_SNAPSHOT_SECONDS))

    async def _beyond_all_sent(self) -> tuple[int, ...]:
        """By shard, what no stream of any server has reached: another one may know more of the log than this one."""
        try:
            return (await self._horizons.read()).heads
        except SourceUnavailableError:
            return (_ANYWHERE,) * len(self._ring.segments)

    def _opening(self, asked: Open, key: SubscriptionKey, selection: Selection, start: tuple[int, ...]) -> Opening:
        if isinstance(asked.start, SnapshotStart) or asked.start is StartPoint.STORED:
            # Nothing is done before a snapshot's end is acked. Floors that were looked up may be deleted by now: where
            # the subscription is still there, the store goes on at its own.
            start = self._horizons.known().earliest
        return Opening(
            key=key,
            log_epoch=self._freshness.position.log_epoch,
            filter=asked.filter,
            filter_hash=selection.filter_hash,
            start={shard: start[shard] for shard in selection.shards},
            checkpoint_epoch=asked.checkpoint_epoch,
            opened_us=self._accounting.clock.now_us(),
            resets=_resets(asked),
        )

    async def _start(self, start: Start, selection: Selection, stored: Subscription | None) -> tuple[int, ...]:
        earliest = self._horizons.known().earliest
        match start:
            case (Position() as position) | SnapshotStart(at=Position() as position):
                check_log(position, self._freshness.position.log_epoch, len(earliest))
                check_filter(position, selection.filter_hash)
                return position.next_seq
            case SnapshotStart():
                return self._freshness.position.next_seq
            case StartTime(time_us):
                at = await self._source.position_at(time_us)
                check_log(at, self._freshness.position.log_epoch, len(earliest))
                return at.next_seq
            case StartPoint.LATEST:
                return self._ring.next_seqs
            case StartPoint.STORED if stored is not None:
                if stored.log_epoch != self._freshness.position.log_epoch:
                    raise LogEpochChangedError(stored.log_epoch, self._freshness.position.log_epoch)
                return tuple(stored.next_seq(shard) or seq for shard, seq in enumerate(earliest))
        return earliest

    async def _checked(self, start: tuple[int, ...], shards: tuple[int, ...]) -> tuple[int, ...]:
        try:
            self._check(start, self._horizons.known(), shards)
        except PositionAheadError:
            # The log may have grown since its head was last read: whoever was answered by it a moment ago may come
            # here before its events do. If it cannot be asked now, nobody can say that the position is wrong.
            self._check(start, await self._horizons.read(), shards)
        return start

    def _check(self, start: tuple[int, ...], horizon: Horizon, shards: tuple[int, ...]) -> None:
        position = Position(log_epoch=self._freshness.position.log_epoch, next_seq=start)
        check_start(position, horizon.earliest, horizon.heads, shards)


def _of_shards(seqs: tuple[int, ...], selection: Selection) -> tuple[int, ...]:
    return tuple(seq if shard in selection.shards else 0 for shard, seq in enumerate(seqs))


def _resets(asked: Open) -> bool:
    """Whether what is done is what lies before the start. Who has a checkpoint says so itself, by acks."""
    return asked.unacked_events_max > 0 and asked.checkpoint_epoch == 0 and asked.start is not StartPoint.STORED
