"""Durable floors that are moved from outside a stream."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.kernel.position import Position, PositionFilterMismatchError, check_log, check_start
from infra.runtime.lifespan import background
from sync.application.acks import Acks
from sync.application.freshness import Freshness
from sync.application.horizons import Horizons
from sync.domain.subscription import Ack, AckOutcome, AckStatus, SubscriptionKey

_FENCED_NAMES_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything below `through` is done, says who was given the delivery epoch."""

    key: SubscriptionKey
    delivery_epoch: int
    through: Position


@dataclass(slots=True)
class Summary:
    """What became of a caller's checkpoints, by status, and which subscriptions were fenced."""

    counts: Counter[AckStatus] = field(default_factory=Counter)
    fenced_names: list[str] = field(default_factory=list)


class Floors:
    """For readers whose streams go one way: what they were sent is not known here, so the head is the bound."""

    def __init__(self, acks: Acks, freshness: Freshness, horizons: Horizons) -> None:
        self._acks = acks
        self._freshness = freshness
        self._horizons = horizons

    async def ack(self, key: SubscriptionKey, delivery_epoch: int, through: Position) -> tuple[AckStatus, Position]:
        """Says that everything below `through` is done; what became of that, and the durable floor now.

        Raises:
            PositionError: It is of another log or filter, or ahead of this log.
            SourceUnavailableError: It says more than is known here, and the log cannot be asked.
        """
        ack = await self._ack(Checkpoint(key=key, delivery_epoch=delivery_epoch, through=through))
        answered: asyncio.Future[AckOutcome | Exception] = asyncio.get_running_loop().create_future()

        def answer(outcome: AckOutcome | Exception) -> None:
            if not answered.cancelled():
                answered.set_result(outcome)

        await self._acks.submit(ack, answer)
        outcome = _checked(key, await answered)
        nowhere = Position(log_epoch=through.log_epoch, next_seq=(0,) * len(through.next_seq))
        return outcome.status, nowhere.moved(outcome.floors)

    async def put(self, checkpoints: AsyncIterator[Checkpoint]) -> Summary:
        """Takes a caller's checkpoints as they come, and answers once all of them are durable.

        Reads on only as the database keeps up, and no further once one is refused; others may be durable all the same.

        Raises:
            ExceptionGroup: Of one error:
                PositionError: One of them is of another log or filter, or ahead of this log.
                SourceUnavailableError: One of them is ahead of all that is known here, and the log cannot be asked.
        """
        summary, waiting = Summary(), 0
        done = asyncio.Event()
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(key: SubscriptionKey, outcome: AckOutcome | Exception) -> None:
            nonlocal waiting
            waiting -= 1
            try:
                _count(summary, key.name, _checked(key, outcome).status)
            except Exception as error:  # noqa: BLE001 - ends the call
                if not refused.done():
                    refused.set_exception(error)
            done.set()

        async with background(_until(refused), name="checkpoint-refused"):
            async for checkpoint in checkpoints:
                ack = await self._ack(checkpoint)
                waiting += 1
                await self._acks.submit(ack, lambda outcome, key=checkpoint.key: answered(key, outcome))  # type: ignore[misc]  # bound early
            while waiting:
                done.clear()
                await done.wait()
            if refused.done():  # at this moment
                await refused
        return summary

    async def _ack(self, checkpoint: Checkpoint) -> Ack:
        here, through = self._freshness.position, checkpoint.through
        check_log(through, here.log_epoch, len(here.next_seq))
        moves = {shard: seq for shard, seq in enumerate(through.next_seq) if seq}
        heads = await self._heads(moves)
        check_start(through, (0,) * len(heads), heads, tuple(moves))
        return Ack(
            key=checkpoint.key,
            ack_id="",
            delivery_epoch=checkpoint.delivery_epoch,
            through=moves,
            filter_hash=through.filter_hash,
        )

    async def _heads(self, moves: Mapping[int, int]) -> tuple[int, ...]:
        """Where the log ends. It is asked only for who is ahead of what is known here: he may have read elsewhere."""
        heads = self._horizons.known().heads
        if any(seq > heads[shard] for shard, seq in moves.items()):
            return (await self._horizons.read()).heads
        return heads


def _checked(key: SubscriptionKey, outcome: AckOutcome | Exception) -> AckOutcome:
    if isinstance(outcome, Exception):
        raise outcome
    if outcome.status is AckStatus.OTHER_FILTER:
        raise PositionFilterMismatchError(f"the position was reached under another filter than that of {key.name!r}")
    return outcome


async def _until(refused: asyncio.Future[None]) -> None:
    await refused


def _count(summary: Summary, name: str, status: AckStatus) -> None:
    summary.counts[status] += 1
    names = summary.fenced_names
    if status is AckStatus.FENCED and name not in names and len(names) < _FENCED_NAMES_MAX:
        names.append(name)
