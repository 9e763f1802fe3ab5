"""Whether a reader holds what the server does: its own digest beside those that a stream brings."""

from collections import deque
from collections.abc import Iterable, Mapping

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import Digest

from stateset_client.digests import hash_of, number_of


class Verifier:
    """Counts and hashes the versions that a reader holds, and compares them with a stream's `Digest`.

        async with EventStream("sync:50052", digest_seconds=60) as stream:
            verifier = Verifier()
            async for batch in stream:
                verifier.add_events(batch.events)
                if stream.digest is not None and verifier.agrees(stream.digest) is False:
                    ...

    It must know every order of the stream's filter: from the first event on, from a snapshot, or from what the reader
    has stored.

    Args:
        versions: Of the orders that are held already, by id.
        history_events_max: A digest speaks of a place that has been passed. So many events are kept to go back by,
            some 200 bytes each.
    """

    def __init__(self, versions: Mapping[str, int] | None = None, *, history_events_max: int = 20_000) -> None:
        self._versions: dict[str, int] = {}
        self._sum = 0
        self._history: deque[tuple[int, int, int, int]] = deque(maxlen=history_events_max)
        self._forgotten: dict[int, int] = {}
        for order_id, version in (versions or {}).items():
            self._hold(order_id, version)

    def add_orders(self, orders: Iterable[Order]) -> None:
        """Orders of a snapshot."""
        for order in orders:
            if order.version > self._versions.get(order.order_id, 0):
                self._hold(order.order_id, order.version)

    def add_events(self, events: Iterable[OrderEvent]) -> None:
        """Events, in the sequence of their coming; what is held already changes nothing."""
        for event in events:
            if event.version > self._versions.get(event.order_id, 0):
                count, change = self._hold(event.order_id, event.version)
                if len(self._history) == self._history.maxlen:
                    shard, seq, *_ = self._history[0]
                    self._forgotten[shard] = seq
                self._history.append((event.shard, event.seq, count, change))

    def agrees(self, digest: Digest) -> bool | None:
        """Whether the reader held, at the digest's place, what the server did; none where it cannot be told any more.

        Everything that the stream brought before the digest must have been added.
        """
        next_seq = digest.at.next_seq
        if any(seq >= next_seq[shard] for shard, seq in self._forgotten.items()):
            return None
        count, total = len(self._versions), self._sum
        for shard, seq, more, change in self._history:
            if seq >= next_seq[shard]:
                count -= more
                total -= change
        return (count, hash_of(total)) == (digest.count, digest.hash)

    def _hold(self, order_id: str, version: int) -> tuple[int, int]:
        """By how much that changes count and sum."""
        before = self._versions.get(order_id)
        change = number_of(order_id, version) - (0 if before is None else number_of(order_id, before))
        self._versions[order_id] = version
        self._sum += change
        return int(before is None), change
