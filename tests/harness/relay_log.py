"""A log of real events in SQLite, and relays over it, each with a holder's name of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from infra.runtime.clock import Clock, SystemClock
from infra.runtime.database import Database
from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.headers import is_ours, place_of
from infra.runtime.kafka.lookup import Lookup
from infra.runtime.sql import open_database
from infra.runtime.topics import EVENTS, STATE
from order.adapters.kafka_publisher import KafkaBus
from order.adapters.sql_lease import SqlLease
from order.adapters.sql_log import open_log
from order.adapters.wire import WireCodec
from order.application.heads import Heads
from order.application.ports import Log
from order.application.relay import Relay
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from order.main import MIGRATIONS
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_records import read_topic, seqs_of
from tests.harness.orders import place, submission
from tests.harness.waiting import eventually_async

SHARDS = 3


class RelayedLog:
    """The log, its writer, and what there is on the broker."""

    def __init__(self, kafka: Kafka, database: Database, log: Log, writer: Writer, heads: Heads) -> None:
        self.kafka = kafka
        self.database = database
        self.log = log
        self.writer = writer
        self.heads = heads
        self.events = EVENTS.name(kafka.prefix)
        self.state = STATE.name(kafka.prefix)
        self.admin = TopicAdmin(kafka.cluster, shards=SHARDS, prefix=kafka.prefix)
        self._orders = 0

    def bus(self, **changes: Any) -> KafkaBus:  # noqa: ANN401 - any argument
        given = {"topic_prefix": self.kafka.prefix, "log_epoch": self.log.log_epoch, "shards": SHARDS, **changes}
        return KafkaBus(self.kafka.cluster, **given)

    def lease(self, holder: str = "first", clock: Any = None) -> SqlLease:  # noqa: ANN401 - any clock
        return SqlLease(self.database, clock or SystemClock(), holder=holder)

    def relay(self, **changes: Any) -> Relay:  # noqa: ANN401 - any argument
        return Relay(self.log, self.heads, self.lease(), self.bus(**changes), SystemClock())

    async def place(self, orders: int) -> None:
        """Records one event for each of so many new orders."""
        for _ in range(orders):
            self._orders += 1
            await self.writer.submit(submission(place(1, 2, order_id=f"o-{self._orders}")))

    async def next_seqs(self) -> list[int]:
        return [head.next_seq for head in await self.log.heads()]

    async def expected(self) -> dict[int, list[int]]:
        """The seqs of the whole log, by shard."""
        return {shard: list(range(1, next_seq)) for shard, next_seq in enumerate(await self.next_seqs())}

    def published(self, topic: str | None = None, *, committed: bool = True) -> dict[int, list[int]]:
        """The seqs on the topic, by partition."""
        return seqs_of(read_topic(self.kafka.servers, topic or self.events, SHARDS, committed=committed))

    async def until_sent(self, within_seconds: float = 60) -> None:
        """Waits until the records of the whole log are at the broker, committed or not."""
        expected = await self.expected()

        async def done() -> bool:
            return await asyncio.to_thread(self.published, self.state, committed=False) == expected

        await eventually_async(done, within_seconds=within_seconds)

    async def until_published(self, within_seconds: float = 60) -> None:
        """Waits until both topics go as far as the log does: a broker shows what is committed after it has said so."""

        async def done() -> bool:
            with suppress(BrokerError):  # a partition that was just made may have no leader yet
                return await asyncio.to_thread(self._ends) == [await self.next_seqs()] * 2
            return False

        await eventually_async(done, within_seconds=within_seconds)

    def _ends(self) -> list[list[int]]:
        """By topic the seq behind the last one of each partition."""
        with closing(Lookup(self.kafka.cluster, committed=True)) as lookup:
            last = [lookup.last(topic, wanted=is_ours) for topic in lookup.topics((self.events, self.state))]
        return [[place_of(of[shard]).seq + 1 if shard in of else 1 for shard in range(SHARDS)] for of in last]


@asynccontextmanager
async def relayed_log(
    kafka: Kafka, folder: Path, *, topics: bool = True, clock: Clock | None = None
) -> AsyncIterator[RelayedLog]:
    """A new log, and unless told otherwise its topics; events have the time of the clock."""
    async with open_database(f"sqlite:///{folder}/order.db", service="order", migrations=MIGRATIONS) as database:
        log = await open_log(database, SHARDS)
        heads = Heads(log.log_epoch, [head.next_seq for head in await log.heads()])
        codec = WireCodec(log.log_epoch, SHARDS)
        limits = WriterLimits(group_commands_max=64, queue_commands_max=1_000)
        writer = Writer(log, codec, heads, clock or SystemClock(), limits, Policy())
        relayed = RelayedLog(kafka, database, log, writer, heads)
        if topics:
            await relayed.admin.apply()
        async with writer.running():
            yield relayed
