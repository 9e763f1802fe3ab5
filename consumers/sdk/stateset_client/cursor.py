"""The reader's own place: it proves with two comparisons a batch that nothing was lost and nothing came twice."""

from collections.abc import Iterator, Sequence

import grpc
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_frame_pb2 import EventBatch

from stateset_client.batch import Batch
from stateset_client.errors import GapError, LogEpochChangedError


class Cursor:
    """The next seq of each shard that is read.

    Args:
        start: Where the stream was opened.
        shards: The shards that are read.
        filtered: Events may be left out, so that progress can pass a seq that no batch covers.
    """

    def __init__(self, start: Position, shards: Sequence[int], *, filtered: bool) -> None:
        self._position = start
        self._next_seq = list(start.next_seq)
        self._shards = tuple(shards)
        self._filtered = filtered

    @property
    def position(self) -> Position:
        """Where the next batch is due."""
        return Position(
            log_epoch=self._position.log_epoch, next_seq=self._next_seq, filter_hash=self._position.filter_hash
        )

    def check_log(self, at: Position) -> None:
        """Refuses a stream of another log than the one that was read before.

        Raises:
            LogEpochChangedError: It is another one.
        """
        ours, theirs = self._position.log_epoch, at.log_epoch
        if ours != theirs:
            raise LogEpochChangedError(
                f"the reader is of log {ours}, and the server has log {theirs}: start again from EARLIEST",
                code=grpc.StatusCode.FAILED_PRECONDITION,
                reason="LOG_EPOCH_CHANGED",
            )

    def check_reopened(self, at: Position) -> None:
        """Refuses a stream that was not opened where this cursor stands.

        Raises:
            GapError: It starts elsewhere.
        """
        for shard in self._shards:
            self._expect(shard, at.next_seq[shard])

    def advance(self, batch: EventBatch, delivery_epoch: int) -> Batch:
        """The batch as the subscriber gets it, after moving past it.

        Raises:
            GapError: Another one was due.
        """
        self._expect(batch.shard, batch.first_seq)
        return self._pass(batch.shard, batch.last_seq, batch.events, delivery_epoch)

    def cover(self, at: Position, delivery_epoch: int) -> Iterator[Batch]:
        """Empty batches for the ranges below `at` in which nothing matched.

        Raises:
            GapError: Nothing is filtered, so the events of such a range are lost.
        """
        for shard in self._shards:
            if at.next_seq[shard] <= self._next_seq[shard]:
                continue
            if not self._filtered:
                raise GapError(shard, self._next_seq[shard], at.next_seq[shard])
            yield self._pass(shard, at.next_seq[shard] - 1, (), delivery_epoch)

    def _expect(self, shard: int, seq: int) -> None:
        if seq != self._next_seq[shard]:
            raise GapError(shard, self._next_seq[shard], seq)

    def _pass(self, shard: int, last_seq: int, events: Sequence[object], delivery_epoch: int) -> Batch:
        first_seq = self._next_seq[shard]
        self._next_seq[shard] = last_seq + 1
        return Batch(
            shard=shard,
            first_seq=first_seq,
            last_seq=last_seq,
            events=events,  # type: ignore[arg-type]  # protobuf's own container: a list would cost a walk
            position=self.position,
            delivery_epoch=delivery_epoch,
        )
