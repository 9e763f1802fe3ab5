"""The log on Kafka: events, and the orders as they left them, in one transaction over both topics."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import Final, TypeVar

from prometheus_client import Gauge
from stateset.order.v1.order_event_pb2 import OrderEvent

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, FencedError, ForeignRecordError
from infra.runtime.kafka.foreign import ForeignRecords
from infra.runtime.kafka.headers import Place, event_headers, place_of, state_headers
from infra.runtime.kafka.lookup import FoundTopic, Lookup
from infra.runtime.kafka.producer import TransactionalProducer
from infra.runtime.log import get_logger
from infra.runtime.topics import EVENTS, STATE
from order.adapters.kafka_undecided import Watch, undo_undecided
from order.application.ports import LoggedEvent
from order.application.relay_ports import BusRefusedError, BusUnavailableError, Cursor, Cursors, LeaseLostError

T = TypeVar("T")

HELD_UP: Final = Gauge(
    "stateset_order_relay_held_up_partitions",
    "Partitions in which a transaction of somebody else holds up readers of committed records.",
)
_REMEDY: Final = "`stateset topics reset` empties it, another topic_prefix leaves it as it is"
_log = get_logger(__name__)


class KafkaBus:
    """The topics of one log; see `relay_ports.Bus`.

    The last committed record of a partition says where it stands. The producer's transactional id is the log's, so the
    broker refuses whoever published before, even if it was only paused.
    """

    def __init__(self, cluster: Cluster, *, topic_prefix: str, log_epoch: str, shards: int) -> None:
        self._cluster = cluster
        self._transactional_id = f"stateset.{topic_prefix}{log_epoch}"
        self._topics = (EVENTS.name(topic_prefix), STATE.name(topic_prefix))
        self._log_epoch = log_epoch
        self._shards = shards
        self._foreign = ForeignRecords()

    async def next_seqs(self) -> list[int]:
        """See `Bus.next_seqs`."""

        def work() -> list[int]:
            with closing(Lookup(self._cluster, committed=True)) as lookup:
                found = [self._last(lookup, topic) for topic in lookup.topics(self._topics)]
            return [max(last[shard].seq + 1 if shard in last else 1 for last in found) for shard in range(self._shards)]

        return await _told(asyncio.to_thread(work))

    @asynccontextmanager
    async def take_over(self, kept: Cursors, earliest: Sequence[int]) -> AsyncIterator["KafkaPublication"]:
        """See `Bus.take_over`."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="relay")
        producer = TransactionalProducer(self._cluster, self._transactional_id)
        lookup = Lookup(self._cluster, committed=True)
        publication = KafkaPublication(thread, producer, lookup, self._topics, self._cluster)
        try:
            await publication.begin(lambda topic: self._cursors(lookup, topic, kept, earliest))
            yield publication
        finally:
            producer.interrupt()
            await publication.end()
            await asyncio.to_thread(thread.shutdown)

    def _cursors(self, lookup: Lookup, topic: FoundTopic, kept: Cursors, earliest: Sequence[int]) -> Cursors:
        last = self._last(lookup, topic)
        cursors = {
            (topic.name, shard): Cursor(
                topic_id=topic.topic_id,
                next_seq=goes_on_at(last.get(shard), kept.get((topic.name, shard)), topic.topic_id, earliest[shard]),
            )
            for shard in range(self._shards)
        }
        if topic.name == self._topics[1]:
            empty = set(range(self._shards)) - last.keys()
            lost = [shard for shard, (first, _) in sorted(lookup.ends(topic).items()) if first]
            late = [shard for shard in sorted(empty - set(lost)) if cursors[topic.name, shard].next_seq > 1]
            _tell_what_states_lack(topic, lost, late)
        return cursors

    def _last(self, lookup: Lookup, topic: FoundTopic) -> dict[int, Place]:
        """Where each partition that is not empty ends, but for records of others; the topic is this log's."""
        if topic.partitions != self._shards:
            raise BusRefusedError(
                f"topic {topic.name} has {topic.partitions} partitions, the log {self._shards} shards: "
                f"`stateset topics reset --shards {self._shards}` makes it anew, another topic_prefix lets it be"
            )
        try:
            found = lookup.last(topic, wanted=lambda message: not self._foreign.pass_over(message))
        except ForeignRecordError as error:
            raise BusRefusedError(f"topic {topic.name}: {error}: {_REMEDY}") from error
        last = {partition: place_of(message) for partition, message in found.items()}
        for place in last.values():
            if place.log_epoch != self._log_epoch:
                raise BusRefusedError(
                    f"topic {topic.name} holds log {place.log_epoch}, this is log {self._log_epoch}: {_REMEDY}"
                )
        return last


def _tell_what_states_lack(topic: FoundTopic, lost: Sequence[int], late: Sequence[int]) -> None:
    """Tells of orders that will not be on the state topic: those of lost records, and of shards that begin late there.

    Nothing is ever deleted from the begin of a compacted partition, unless it was not compacted for a while.
    """
    if lost:
        _log.error(
            "orders are missing from the state topic: `stateset topics reset` makes the topics anew",
            reason="STATE_LOST",
            topic=topic.name,
            partitions=lost,
        )
    if late:
        _log.warning(
            "the state topic begins with a log that was trimmed: orders that have not changed since are not on it",
            reason="STATE_INCOMPLETE",
            topic=topic.name,
            shards=late,
        )


def goes_on_at(last: Place | None, kept: Cursor | None, topic_id: str, earliest: int) -> int:
    """The first seq that a partition lacks.

    Its last record knows. Where there is none, either retention has taken them all, and the cursor knows; or the topic
    is a new one, to be filled with what the log still has.
    """
    if last is not None:
        return last.seq + 1
    return kept.next_seq if kept is not None and kept.topic_id == topic_id else earliest


class KafkaPublication:
    """See `relay_ports.Publication`. All that blocks does so on one thread, one after the other."""

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        producer: TransactionalProducer,
        lookup: Lookup,
        topics: Sequence[str],
        cluster: Cluster,
    ) -> None:
        self._thread = thread
        self._cluster = cluster
        self._producer = producer
        self._lookup = lookup
        self._topics = topics
        self._sent: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], Cursor] = {}
        self._open = False
        self._usable = False
        self._watch = Watch()

    @property
    def cursors(self) -> Cursors:
        """See `Publication.cursors`."""
        return self._committed

    @property
    def next_seqs(self) -> list[int]:
        """See `Publication.next_seqs`."""
        shards = sorted({shard for _, shard in self._committed})
        return [min(self._committed[topic, shard].next_seq for topic in self._topics) for shard in shards]

    async def begin(self, cursors: Callable[[FoundTopic], Cursors]) -> None:
        """Fences whoever was there, and only then looks where it ended."""

        def look() -> None:
            for topic in self._lookup.topics(self._topics):
                self._committed |= cursors(topic)

        def work() -> None:
            self._producer.take_over()
            look()  # another log's topics are refused here, before anything is written to them
            if undo_undecided(self._producer, self._lookup, self._topics, self._cluster):
                look()
            self._sent = {key: cursor.next_seq for key, cursor in self._committed.items()}
            self._usable = True

        await self._run(work)

    async def publish(self, runs: Sequence[Sequence[LoggedEvent]]) -> None:
        """See `Publication.publish`."""

        def work() -> None:
            if not self._open:
                self._producer.begin()
                self._open = True
            for run in runs:
                self._send(run)

        await self._run(work)

    async def commit(self) -> None:
        """See `Publication.commit`."""
        await self._run(self._commit)

    async def is_intact(self) -> bool:
        """See `Publication.is_intact`. Asked every second, it looks now and then whether others hold readers up."""

        def work() -> bool:
            stuck = self._watch.look(self._lookup, self._topics, time.monotonic())
            if stuck is not None:
                HELD_UP.set(stuck)
            return self._is_intact()

        return await self._run(work)

    async def end(self) -> None:
        """Commits what is open if nothing has failed so far and the broker is quick; lets go of it in any case."""

        def work() -> None:
            try:
                if self._open and self._usable:
                    self._commit()
            except (BrokerError, BusUnavailableError) as error:
                _log.warning("the last records were not committed and will be published again", error=str(error))
            finally:
                self._producer.close()
                self._lookup.close()

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _send(self, events: Sequence[LoggedEvent]) -> None:
        shard = events[0].shard
        to_events, to_state = self._topics
        first_event, first_state = self._sent[to_events, shard], self._sent[to_state, shard]
        send = self._producer.send
        for _, seq, _, _, record_time_us, order_id, body in events:
            event = OrderEvent.FromString(body)
            key, at_ms = order_id.encode(), record_time_us // 1000
            if seq >= first_event:
                headers = event_headers(event.metadata, key=order_id, seq=seq)
                send(to_events, shard, key=key, value=body, timestamp_ms=at_ms, headers=headers)
            if seq >= first_state:
                headers = state_headers(event.metadata.log_epoch, seq=seq)
                value = event.order.SerializeToString()
                send(to_state, shard, key=key, value=value, timestamp_ms=at_ms, headers=headers)
        next_seq = events[-1].seq + 1
        self._sent[to_events, shard] = max(next_seq, first_event)
        self._sent[to_state, shard] = max(next_seq, first_state)

    def _commit(self) -> None:
        """Looks at the topics between the records' arrival and their commit.

        So nothing is ever committed to a topic that was made anew in between, where it would begin with a gap, and what
        was sent is taken back where partitions were added: such a topic is refused by the next take-over.
        """
        self._producer.flush()
        if not self._is_intact():
            raise BusUnavailableError("a topic is not the one it was: what was sent is taken back")
        self._producer.commit()
        self._open = False
        self._committed = {
            key: Cursor(topic_id=self._committed[key].topic_id, next_seq=next_seq)
            for key, next_seq in self._sent.items()
        }

    def _is_intact(self) -> bool:
        now = {topic.name: topic for topic in self._lookup.topics(self._topics)}
        partitions = Counter(topic for topic, _ in self._committed)
        return all(
            (cursor.topic_id, partitions[topic]) == (now[topic].topic_id, now[topic].partitions)
            for (topic, _), cursor in self._committed.items()
        )

    async def _run(self, work: Callable[[], T]) -> T:
        def noting() -> T:
            try:
                return work()
            except BaseException:
                self._usable = False
                raise

        return await _told(asyncio.get_running_loop().run_in_executor(self._thread, noting))


async def _told(work: Awaitable[T]) -> T:
    """The work's result; what the broker says against it in the application's words."""
    try:
        return await work
    except FencedError as error:
        raise LeaseLostError(f"another relay has taken over on the broker: {error}") from error
    except BrokerError as error:
        raise BusUnavailableError(str(error)) from error
