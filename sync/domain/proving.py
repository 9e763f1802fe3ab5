"""When a stream is proved to its reader."""

from math import inf

from infra.kernel.position import Position
from sync.domain.frames import Proof


class Proving:
    """Asks for one proof after the other, each an interval after the last, and keeps it until its place is reached.

    A proof is taken of what is stored, at a place of its own. Events go on meanwhile: nothing is held back.

    Attributes:
        wanted: Somebody is to take a proof.
        due_at: When the next one has to be asked for, if the stream is LIVE then.
    """

    def __init__(self, interval_seconds: float | None, now: float) -> None:
        self.wanted = False
        self._interval_seconds = interval_seconds
        self.due_at = inf if interval_seconds is None else now + interval_seconds
        self._taken: Proof | None = None

    @property
    def promised(self) -> bool:
        """Whether there are any."""
        return self._interval_seconds is not None

    def ask(self, now: float) -> None:
        """Wants one if it is time; to be called while the stream is LIVE."""
        if now >= self.due_at:
            self.due_at = inf
            self.wanted = True

    def take(self, proof: Proof | None, now: float) -> None:
        """What was taken; none if it could not be."""
        self.wanted = False
        self._taken = proof
        if proof is None and self._interval_seconds is not None:
            self.due_at = now + self._interval_seconds

    def reached(self, here: Position, now: float) -> Proof | None:
        """The proof, once everything below its place was sent."""
        proof = self._taken
        if proof is None or self._interval_seconds is None or not here.covers(proof.at):
            return None
        self._taken = None
        self.due_at = now + self._interval_seconds
        return proof
