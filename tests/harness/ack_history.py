"""What a subscription with acks of single events was told, and what that must never show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Place = tuple[int, int]  # shard and seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the history, in the sequence in which the subscriber saw them.

    Attributes:
        kind: An event was delivered; its outcome was said; the server has answered that with this status.
        stream: Number of the stream.
        order: The event's order and version.
        outcome: Of what was settled.
        status: Likewise.
    """

    kind: Literal["delivered", "asked", "settled"]
    stream: int
    place: Place
    order: tuple[str, int]
    outcome: str = ""
    status: str = ""


def violations(history: Sequence[Entry], log: Sequence[tuple[Place, tuple[str, int]]], parked: set[Place]) -> list[str]:
    """Everything that is wrong with a history that has ended with the whole log settled.

    Args:
        history: What happened.
        log: Every event: where it is, and which version of which order.
        parked: What lies in the parking place at the end.
    """
    return [
        *_delivered_again(history),
        *_out_of_order(history),
        *_zombies(history),
        *_lost(history, log, parked),
    ]


def _delivered_again(history: Sequence[Entry]) -> Iterator[str]:
    finished: set[Place] = set()
    for entry in history:
        if entry.kind == "delivered" and entry.place in finished:
            yield f"delivered again after COMMITTED: {entry.place}"
        if _finishes(entry):
            finished.add(entry.place)


def _out_of_order(history: Sequence[Entry]) -> Iterator[str]:
    newest: dict[str, int] = {}
    for entry in history:
        order_id, version = entry.order
        if _finishes(entry):
            if version <= newest.get(order_id, 0):
                yield f"finished out of order: version {version} of {order_id}"
            newest[order_id] = version


def _zombies(history: Sequence[Entry]) -> Iterator[str]:
    newest = 0
    for entry in history:
        newest = max(newest, entry.stream)
        if entry.stream < newest and entry.status == "COMMITTED":
            yield f"committed for stream {entry.stream} after stream {newest} was open: {entry.place}"


def _lost(history: Sequence[Entry], log: Sequence[tuple[Place, tuple[str, int]]], parked: set[Place]) -> Iterator[str]:
    settled = {entry.place for entry in history if _finishes(entry) or entry.status == "ALREADY"}
    # What was said and never answered may have been committed: the server that knows was killed.
    asked = {(entry.stream, entry.place) for entry in history if entry.kind == "asked" and entry.outcome != "RETRY"}
    answered = {(entry.stream, entry.place) for entry in history if entry.kind == "settled"}
    settled |= {place for _, place in asked - answered}
    for place, _ in log:
        if place not in settled | parked:
            yield f"lost: {place}"


def _finishes(entry: Entry) -> bool:
    return entry.status == "COMMITTED" and entry.outcome in ("DONE", "PARK")
