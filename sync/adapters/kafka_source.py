"""The log, read from Kafka; see `ports.EventSource`. What Kafka does not have comes from the Order Service."""

import asyncio
import random
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message
from google.protobuf.message import DecodeError
from prometheus_client import Counter

from infra.kernel.position import Position, check_log, check_start
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.consumer import Reader, open_reader
from infra.runtime.kafka.errors import BrokerError, ForeignRecordError
from infra.runtime.kafka.foreign import ForeignRecords
from infra.runtime.kafka.lookup import Lookup, partition_of
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from infra.runtime.topics import EVENTS
from sync.adapters.kafka_offsets import offsets_of, refuse_other_log
from sync.adapters.wire import event_from_wire
from sync.application.ports import EventSource, SourceUnavailableError
from sync.domain.assembly import Assembly
from sync.domain.errors import LogHoleError
from sync.domain.log import Batch, Event, LogHead, OrderRow
from sync.domain.stall import Watch

_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 2.0
_FILL_SECONDS: Final = 10.0  # without a word from the Order Service: it does not have what is missing
_log = get_logger(__name__)

FILLED: Final = Counter(
    "stateset_sync_filled_events_total", "Events that Kafka did not have, or not in time: read from the Order Service."
)
REOPENED: Final = Counter("stateset_sync_consumers_reopened_total", "Consumers that were given up, by reason.", ["why"])


class KafkaSource:
    """Reads the events topic, records that are not committed yet included: each is a row of the log that is.

    Every reader has a consumer of its own, opened anew when the broker fails it or when it stands still although the
    log goes on. A range that the topic lacks is asked for at the Order Service; only what neither of them keeps is
    expired.

    A topic that cannot be this log's ends a process that starts. One that serves already says so and looks again, as
    topics can be made right under it. Records that none of ours has written are passed over: should one of ours be
    missing in their place, it is asked for as any that the topic lacks.
    """

    def __init__(
        self, orders: EventSource, cluster: Cluster, *, topic_prefix: str = "", stall_seconds: float = 10.0
    ) -> None:
        """Orders answers for the log itself; stall_seconds is for tests, which do not wait for as long."""
        self._orders = orders
        self._cluster = cluster
        self._topic = EVENTS.name(topic_prefix)
        self._stall_seconds = stall_seconds
        self._started = False
        self._foreign = ForeignRecords()

    async def head(self) -> LogHead:
        """See `EventSource.head`."""
        return await self._orders.head()

    async def position_at(self, time_us: int) -> Position:
        """See `EventSource.position_at`."""
        return await self._orders.position_at(time_us)

    async def record_times(self, position: Position, shards: Collection[int]) -> Mapping[int, int]:
        """See `EventSource.record_times`."""
        return await self._orders.record_times(position, shards)

    async def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        """See `EventSource.follow`.

        Raises:
            StartupError: At the first look of the first reader: the topic cannot be this log's.
        """
        starting, self._started = not self._started, True
        async with aclosing(self._tail(start, range(len(start.next_seq)), starting=starting)) as arrivals:
            async for batches in arrivals:
                yield batches

    async def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        """See `EventSource.read`."""
        async with aclosing(self._tail(start, shards)) as arrivals:
            async for batches in arrivals:
                for batch in batches:
                    yield batch

    async def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        """See `EventSource.orders`."""
        async with aclosing(self._orders.orders()) as pages:
            async for page in pages:
                yield page

    async def confirm(self, position: Position) -> None:
        """See `EventSource.confirm`."""
        await self._orders.confirm(position)

    async def _tail(
        self, start: Position, shards: Sequence[int], *, starting: bool = False
    ) -> AsyncGenerator[Sequence[Batch], None]:
        head = await _head(self._orders)
        if head is not None:  # else the records themselves will show whether the topic is the position's
            check_log(start, head.log_epoch, len(head.next_seq))
            check_start(start, (1,) * len(head.next_seq), head.next_seq, shards)  # the topic may go further back
        assembly, watch = Assembly(start, shards), Watch(self._stall_seconds)
        tail = _Tail(self._orders, self._cluster, self._topic, assembly, watch, self._foreign, starting)
        watch.look(start, head, _now())
        async with aclosing(tail.run()) as arrivals:
            async for batches in arrivals:
                yield batches


@dataclass(slots=True)
class _Tail:
    """One reader: a consumer after the other, and what each of them lacks from the Order Service."""

    orders: EventSource
    cluster: Cluster
    topic: str
    assembly: Assembly
    watch: Watch
    foreign: ForeignRecords
    starting: bool
    stalled: dict[int, int] = field(default_factory=dict)

    async def run(self) -> AsyncGenerator[Sequence[Batch], None]:
        pause = _PAUSE_SECONDS
        while True:
            before = self.assembly.position
            try:
                async with aclosing(self._consume()) as arrivals:
                    async for batches in arrivals:
                        yield batches
            except BrokerError as error:
                REOPENED.labels(type(error).__name__).inc()
                _log.warning("the topic cannot be read and is opened again", error=str(error))
            except StartupError as error:
                if self.starting:
                    raise
                REOPENED.labels("refused").inc()
                _log.error("the topic is refused and looked at again", reason="TOPIC_REFUSED", error=str(error))
            self.starting = False
            await self._look()
            async with aclosing(self._fill_stalled()) as fillings:
                async for batches in fillings:
                    yield batches
            pause = _PAUSE_SECONDS if self.assembly.position != before else min(2 * pause, _PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, so that all do not come at once

    async def _consume(self) -> AsyncGenerator[Sequence[Batch], None]:
        """One consumer's arrivals; ends when a shard stands still that should not."""
        starts = await asyncio.to_thread(self._starts, self.assembly.wanted())
        self.starting = False
        async with open_reader(self.cluster, self.topic, starts) as reader:
            while not self.stalled:
                async with aclosing(self._taken(await self._arrived(reader))) as arrivals:
                    async for batches in arrivals:
                        yield batches
                await self._look()
        REOPENED.labels("stalled").inc()
        _log.warning("shards stand still while the log goes on", shards=sorted(self.stalled))

    def _starts(self, wanted: Mapping[int, int]) -> dict[int, int]:
        shards = len(self.assembly.position.next_seq)
        with closing(Lookup(self.cluster, committed=False)) as lookup:
            topic = lookup.topic(self.topic)
            if topic.partitions != shards:
                raise StartupError(
                    f"topic {topic.name} has {topic.partitions} partitions, the log {shards} shards: "
                    f"`stateset topics reset --shards {shards}` makes it anew"
                )
            try:
                return offsets_of(lookup, topic, wanted, self.assembly.position.log_epoch)
            except ForeignRecordError as error:
                raise StartupError(f"topic {topic.name}: {error}: `stateset topics reset` empties it") from error

    async def _arrived(self, reader: Reader) -> Sequence[Message]:
        try:
            async with asyncio.timeout(self.watch.seconds_left(_now())):
                return await reader.next()
        except TimeoutError:
            return ()

    async def _taken(self, arrived: Sequence[Message]) -> AsyncGenerator[Sequence[Batch], None]:
        """The whole groups that what arrived makes; a range that it leaves out is asked for."""
        for message in arrived:
            event = self._event_of(message)
            if event is None:
                continue
            shard = partition_of(message)
            try:
                self.assembly.take(shard, event)
            except LogHoleError as hole:
                if whole := self.assembly.whole():
                    yield whole
                async with aclosing(self._filled(shard, hole.got)) as fillings:
                    async for batch in fillings:
                        yield (batch,)
                self.assembly.take(shard, event)
        if whole := self.assembly.whole():
            yield whole

    def _event_of(self, message: Message) -> Event | None:
        """The event of this log that the record is; none if none of ours has written it.

        Its headers are looked at only where its value is not what it should be: there is a record for every event.
        """
        try:
            event = event_from_wire(message.value() or b"")
        except DecodeError:
            self.foreign.tell(message)
            return None
        log_epoch = self.assembly.position.log_epoch
        if event.log_epoch != log_epoch and self.foreign.pass_over(message):
            return None
        refuse_other_log(event.log_epoch, log_epoch, self.topic)
        return event

    async def _filled(self, shard: int, until: int) -> AsyncGenerator[Batch, None]:
        """The shard from its position to `until`, from the Order Service.

        Raises:
            LogHoleError: It is not there either, though the Order Service is.
            PositionExpiredError: It is kept no longer.
        """
        while self._lacks(shard, until):
            was_there = await _head(self.orders) is not None
            async with aclosing(self.orders.read(self.assembly.position, (shard,))) as batches:
                while self._lacks(shard, until):
                    try:
                        async with asyncio.timeout(_FILL_SECONDS):
                            batch = await anext(batches)
                    except TimeoutError:
                        await self._refuse_hole(shard, until, was_there=was_there)
                        break
                    self.assembly.pass_by(batch)
                    FILLED.inc(len(batch.events))
                    yield batch

    def _lacks(self, shard: int, until: int) -> bool:
        return self.assembly.position.next_seq[shard] < until

    async def _refuse_hole(self, shard: int, until: int, *, was_there: bool) -> None:
        """Says that the log has a hole, unless nobody could be asked: who is away has lost nothing."""
        expected = self.assembly.position.next_seq[shard]
        if was_there and await _head(self.orders) is not None:
            raise LogHoleError(shard, expected, until)
        _log.warning("the Order Service is waited for: the topic lacks an event", shard=shard, seq=expected)

    async def _fill_stalled(self) -> AsyncGenerator[Sequence[Batch], None]:
        stalled, self.stalled = self.stalled, {}
        for shard, until in stalled.items():
            async with aclosing(self._filled(shard, until)) as fillings:
                async for batch in fillings:
                    yield (batch,)

    async def _look(self) -> None:
        if self.watch.seconds_left(_now()) > 0:
            return
        found = self.watch.look(self.assembly.position, await _head(self.orders), _now())
        self.stalled = {shard: until for shard, until in found.items() if shard in self.assembly.shards}


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _head(orders: EventSource) -> LogHead | None:
    try:
        return await orders.head()
    except SourceUnavailableError:
        return None
