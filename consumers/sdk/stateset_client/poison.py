"""Events that cannot be processed, and what comes before and behind one of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent

from stateset_client.batch import Batch, Outcome, Settled

_REASON_CHARACTERS_MAX: Final = 1_000


class PoisonError(Exception):
    """Raised by whoever is handed an event: it will never be processed, trying again is of no use."""


class PoisonedError(Exception):
    """Carries an event that raised a `PoisonError` out of the transaction that it was to be applied in."""

    def __init__(self, event: OrderEvent, error: PoisonError) -> None:
        super().__init__(str(error))
        self.event = event
        self.error = error


def parking(event: OrderEvent, error: BaseException) -> Settled:
    """Sets the event aside with its order's later events, and says why."""
    text = f"{type(error).__name__}: {error}".encode(errors="replace").decode()  # file names may hold lone surrogates
    reason = text[:_REASON_CHARACTERS_MAX].replace("\0", "")
    return Settled(event=event, outcome=Outcome.PARK_KEY, reason=reason)


def split(batches: Sequence[Batch], event: OrderEvent) -> tuple[list[Batch], list[Batch]]:
    """What comes before the event, and what comes behind it: the range of that begins with the event's own."""
    at = next(number for number, batch in enumerate(batches) if event in batch.events)
    batch = batches[at]
    number = list(batch.events).index(event)
    before, behind = batch.events[:number], batch.events[number + 1 :]
    if batch.attempts:
        first = replace(batch, events=before, attempts=batch.attempts[:number])
        second = replace(batch, events=behind, attempts=batch.attempts[number + 1 :])
        return [*batches[:at], *([first] if before else [])], [*([second] if behind else []), *batches[at + 1 :]]
    first = replace(batch, events=before, last_seq=event.seq - 1, position=_at(batch, event.seq))
    second = replace(batch, events=behind, first_seq=event.seq)
    return [*batches[:at], *([first] if event.seq > batch.first_seq else [])], [second, *batches[at + 1 :]]


def _at(batch: Batch, seq: int) -> Position:
    position = Position()
    position.CopyFrom(batch.position)
    position.next_seq[batch.shard] = seq
    return position
