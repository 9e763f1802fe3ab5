"""How far behind a reader is, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from infra.kernel.filter import EVERYTHING, Term
from sync.domain.frames import Grant, Lag, LagBound


class Standing(NamedTuple):
    """Where a reader is: what of each shard it was sent, and what of that is done.

    Attributes:
        shards: Those that it reads; only their entries count.
        floors: None where nothing is acknowledged.
        credit: What is left; none where the transport alone bounds what is in flight.
        unfinished: Events that were sent and are not finished; none where no account is kept of single ones.
        parked: Events in the parking place, as far as the reader's stream knows.
        term: What it reads of its shards.
    """

    shards: tuple[int, ...]
    next_seqs: tuple[int, ...]
    floors: tuple[int, ...] | None
    credit: Grant | None
    unfinished: int | None = None
    parked: int = 0
    term: Term = EVERYTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The log as this server sees it, by shard: where it ends, where it begins, and how much of it is here."""

    heads: tuple[int, ...]
    earliest: tuple[int, ...]
    here: tuple[int, ...]


class Meter(Protocol):
    """Measures the lag of readers."""

    @property
    def horizon(self) -> Horizon:
        """What it is measured by: the same object for as long as the log does not move."""

    def of(self, standing: Standing) -> Lag:
        """The reader's lag."""

    def timeless(self, standing: Standing) -> Lag:
        """The same but for its time, which changes even while nothing happens."""


class LagNews:
    """The lag of one stream, told when it has changed."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._told: Lag | None = None
        self._rested_on: tuple[object, ...] | None = None

    def of(self, rests_on: tuple[object, ...] | None, standing: Callable[[], Standing]) -> Lag | None:
        """The lag; none if it is as it was told last.

        Args:
            rests_on: All that the standing is made of. While neither that nor the log moves, nothing is measured, as on
                ten thousand streams to which nothing happens. None where it is made of more.
            standing: Makes it.
        """
        rested_on, self._rested_on = self._rested_on, rests_on and (self._meter.horizon, *rests_on)
        if rested_on is not None and rested_on == self._rested_on:
            return None
        now = standing()
        lag = self._meter.timeless(now)
        if lag == self._told:
            return None
        self._told = lag
        return self._meter.of(now)


def lag_of(standing: Standing, horizon: Horizon, blocking_order_id: str) -> Lag:
    """The reader's lag, but for its time; which order blocks it, only the events tell."""
    behind = sum(max(0, horizon.heads[shard] - standing.next_seqs[shard]) for shard in standing.shards)
    oldest = standing.floors or standing.next_seqs
    return Lag(
        events=behind,
        unacked=unacked_of(standing),
        parked=standing.parked,
        retention_headroom=min((oldest[shard] - horizon.earliest[shard] for shard in standing.shards), default=0),
        credit_left=standing.credit,
        bound_by=_bound(standing, horizon, behind),
        blocking_order_id=blocking_order_id,
    )


def unacked_of(standing: Standing) -> int:
    """How many events were sent and are not done; those that match, where account is kept of single ones."""
    if standing.unfinished is not None:
        return standing.unfinished
    return sum(unacked_by_shard(standing).values())


def unacked_by_shard(standing: Standing) -> dict[int, int]:
    """Events that were sent and are not done, of each shard that is read; nothing where nothing is acknowledged."""
    if standing.floors is None:
        return {}
    return {shard: max(0, standing.next_seqs[shard] - standing.floors[shard]) for shard in standing.shards}


def _bound(standing: Standing, horizon: Horizon, behind: int) -> LagBound:
    if not behind:
        return LagBound.NONE
    if all(standing.next_seqs[shard] >= horizon.here[shard] for shard in standing.shards):
        return LagBound.SERVER
    credit = standing.credit
    return LagBound.CREDIT if credit is not None and min(credit.events, credit.bytes) <= 0 else LagBound.DELIVERY
