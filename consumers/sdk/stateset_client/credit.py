"""How much the server may send: what is under way and what waits here stay within one window."""

from stateset.stream.v1.stream_pb2 import CREDIT_MODE_ADD, Credit


class CreditWindow:
    """The books of a subscriber's credit, in events and in bytes of frames."""

    def __init__(self, events: int, size_bytes: int) -> None:
        self._events = events
        self._bytes = size_bytes
        self._held_events = self._held_bytes = 0
        self._spare_events = self._spare_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether what has arrived and is not consumed yet fills the window."""
        return self._held_events >= self._events or self._held_bytes >= self._bytes

    def receive(self, events: int, size_bytes: int) -> None:
        """These have arrived."""
        self._held_events += events
        self._held_bytes += size_bytes

    def consume(self, events: int, size_bytes: int) -> None:
        """These are done with: their room can be granted again."""
        self._held_events -= events
        self._held_bytes -= size_bytes
        self._spare_events += events
        self._spare_bytes += size_bytes

    def opening(self) -> Credit:
        """The first grant of a new stream: the window without what still waits here, and never nothing."""
        self._spare_events = self._spare_bytes = 0
        return Credit(events=max(1, self._events - self._held_events), bytes=max(1, self._bytes - self._held_bytes))

    def grant(self) -> Credit | None:
        """The next grant, once it is worth a frame: when half a window is free again."""
        if 2 * self._spare_events < self._events and 2 * self._spare_bytes < self._bytes:
            return None
        credit = Credit(events=self._spare_events, bytes=self._spare_bytes, mode=CREDIT_MODE_ADD)
        self._spare_events = self._spare_bytes = 0
        return credit
