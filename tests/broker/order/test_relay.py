"""The relay on a real broker: every event once, in order, with no gap, whoever publishes and whatever fails."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Message, Producer
from prometheus_client import REGISTRY
from sqlalchemy import text
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order
from structlog.testing import capture_logs

from infra.runtime.clock import ManualClock, SystemClock
from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.headers import state_headers
from infra.runtime.kafka.lookup import Lookup
from infra.runtime.kafka.producer import TransactionalProducer
from infra.runtime.lifespan import StartupError
from infra.runtime.topics import EVENTS, STATE
from order.adapters import kafka_undecided
from order.adapters.sql_log import open_log
from order.application.relay import Relay
from order.application.relay_ports import BusRefusedError, BusUnavailableError, Cursor, LeaseLostError, Publication
from tests.harness.kafka_broker import BrokerProcess, Kafka, local_broker
from tests.harness.kafka_records import headers_of, read_topic
from tests.harness.kafka_topics import add_partition, expire, make_topic, set_broker_defaults, set_config, stray
from tests.harness.relay_log import SHARDS, RelayedLog, relayed_log
from tests.harness.waiting import eventually, eventually_async

HOUR_US = 3_600_000_000


@pytest.fixture
async def log(kafka: Kafka, tmp_path: Path) -> AsyncIterator[RelayedLog]:
    async with relayed_log(kafka, tmp_path) as relayed:
        yield relayed


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with local_broker(tmp_path) as process:
        yield process


async def test_every_event_is_published_once_with_the_order_after_it(log: RelayedLog) -> None:
    await log.place(20)
    async with log.relay().running():
        await log.place(20)
        await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)
    states = read_topic(log.kafka.servers, log.state, SHARDS)
    assert {f"o-{n}" for n in range(1, 41)} == {
        Order.FromString(each.value() or b"").order_id for of in states.values() for each in of
    }


async def test_a_record_says_in_its_headers_what_the_event_says(log: RelayedLog) -> None:
    await log.place(1)
    async with log.relay().running():
        await log.until_published()
    [record] = [each for of in read_topic(log.kafka.servers, log.events, SHARDS).values() for each in of]
    [state] = [each for of in read_topic(log.kafka.servers, log.state, SHARDS).values() for each in of]
    event = OrderEvent.FromString(record.value() or b"")
    assert (b"o-1", event.shard) == (record.key(), record.partition())
    assert record.timestamp()[1] == event.metadata.record_time.ToMilliseconds()
    assert [header.name for header in EVENTS.headers][:-1] == list(headers_of(record))
    assert [header.name for header in STATE.headers] == list(headers_of(state))
    parsed = as_cloud_event(record)
    assert event.metadata.event_id == parsed.get_id()
    assert (parsed.get_source(), parsed.get_type()) == ("//order.stateset.dev", "stateset.order.v1.OrderPlaced")
    assert event.metadata.occur_time.ToDatetime() == parsed.get_attributes()["time"].replace(tzinfo=None)
    assert parsed.get_subject() == "orders/o-1"
    assert f"{event.seq:020}" == parsed.get_extension("sequence")
    assert event.metadata.log_epoch == parsed.get_extension("logepoch")


async def test_a_successor_goes_on_behind_the_last_committed_record(log: RelayedLog) -> None:
    for _ in range(3):
        await log.place(7)
        async with log.relay().running():
            await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)


async def test_a_predecessor_that_revives_publishes_nothing_and_leaves_nothing(log: RelayedLog) -> None:
    await log.place(30)
    kept = await log.lease().cursors()
    async with log.bus().take_over(kept, [1] * SHARDS) as paused:
        await publish_all(log, paused)
        await log.until_sent()
        async with log.bus().take_over(kept, [1] * SHARDS) as newer:
            assert newer.next_seqs == [1] * SHARDS
            await publish_and_commit(log, newer)
            with pytest.raises(LeaseLostError):
                await paused.commit()
    await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)
    uncommitted = log.published(committed=False)
    assert sum(map(len, uncommitted.values())) > 30  # what was taken back is still there for those who ask for it


async def test_a_predecessor_that_revives_with_records_to_send_is_told_that_it_is_late(log: RelayedLog) -> None:
    await log.place(30)
    kept = await log.lease().cursors()
    async with log.bus().take_over(kept, [1] * SHARDS) as paused, log.bus().take_over(kept, [1] * SHARDS) as newer:
        with pytest.raises(LeaseLostError):
            await publish_and_commit(log, paused)
        await publish_and_commit(log, newer)
    await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)


class ForgetfulProducer(Producer):
    """Whose flush loses an error that came while a report was heard, as the library does now and then."""

    def flush(self, timeout: float) -> int:  # type: ignore[override]
        """As it is, but for that."""
        try:
            return super().flush(timeout)
        except SystemError:
            raise SystemError("returned NULL without setting an exception") from None


async def test_the_late_one_is_told_even_where_the_library_loses_the_reason(
    log: RelayedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.runtime.kafka.producer.Producer", ForgetfulProducer)
    await test_a_predecessor_that_revives_with_records_to_send_is_told_that_it_is_late(log)


async def publish_all(log: RelayedLog, publication: Publication) -> None:
    for shard in range(SHARDS):
        events = await log.log.read_events(shard, 1, 1_000)
        if events:
            await publication.publish([events])


async def publish_and_commit(log: RelayedLog, publication: Publication) -> None:
    await publish_all(log, publication)
    await publication.commit()


async def test_records_that_are_undecided_keep_the_relay_from_publishing_behind_them(log: RelayedLog) -> None:
    other = TransactionalProducer(log.kafka.cluster, "another")
    other.take_over()
    other.begin()
    await log.place(20)
    [event, *_] = await log.log.read_events(0, 1, 1)
    headers = state_headers(log.log.log_epoch, seq=1)
    other.send(log.events, 0, key=b"", value=event.body, timestamp_ms=0, headers=headers)
    other.flush()
    with pytest.raises(BusUnavailableError, match="transaction open"):
        async with log.bus().take_over({}, [1] * SHARDS):
            pass
    other.abort()
    async with log.relay().running():
        await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)


def held_up() -> float | None:
    return REGISTRY.get_sample_value("stateset_order_relay_held_up_partitions")


async def test_a_transaction_of_somebody_else_is_told_of_while_the_relay_publishes(
    log: RelayedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_undecided, "_LOOK_AGAIN_SECONDS", 2.0)
    other = TransactionalProducer(log.kafka.cluster, "another")
    other.take_over()
    with capture_logs() as logs:
        async with log.relay().running():
            await log.place(20)
            await log.until_published()
            await eventually(lambda: held_up() == 0)
            other.begin()
            for partition in (0, 2):
                other.send(log.events, partition, key=b"", value=b"junk", timestamp_ms=0, headers=[])
            other.flush()
            await eventually(lambda: held_up() == 2)
            await log.place(20)
            await log.until_sent()
            other.abort()
            await eventually(lambda: held_up() == 0)
            await log.until_published()
    told = [(each["topic"], each["partition"]) for each in logs if each.get("reason") == "TRANSACTION_OPEN"]
    assert told == [(log.events, 0), (log.events, 2)]
    assert await log.expected() == log.published() == log.published(log.state)


async def test_of_a_transaction_that_is_not_ours_nothing_is_copied(log: RelayedLog) -> None:
    other = TransactionalProducer(log.kafka.cluster, "another")
    other.take_over()
    other.begin()
    other.send(log.events, 1, key=b"", value=b"junk", timestamp_ms=0, headers=[])
    other.flush()
    before = ends_of(log)
    for _ in range(3):
        with pytest.raises(
            BusUnavailableError, match=rf"transaction open on {log.events}-1 at 0: .*kafka-transactions.sh"
        ):
            async with log.bus().take_over({}, [1] * SHARDS):
                pass
    assert ends_of(log) == before
    other.abort()


def ends_of(log: RelayedLog) -> list[dict[int, tuple[int, int]]]:
    with closing(Lookup(log.kafka.cluster, committed=False)) as lookup:
        return [lookup.ends(topic) for topic in lookup.topics([log.events, log.state])]


async def test_a_shard_that_has_lost_an_event_stops_before_it_and_the_others_go_on(log: RelayedLog) -> None:
    await log.place(30)
    lost = text("DELETE FROM order_events WHERE shard = 0 AND seq = 3")
    await log.database.write(lambda connection: connection.execute(lost))
    expected = {**await log.expected(), 0: [1, 2]}

    async def is_published() -> bool:
        return await asyncio.to_thread(log.published) == expected

    async with (await reading_the_database(log)).running():
        await eventually_async(is_published, within_seconds=60)
        await log.place(10)
        expected = {**await log.expected(), 0: [1, 2]}
        await eventually_async(is_published, within_seconds=60)


async def test_topics_that_were_wiped_are_filled_again(log: RelayedLog) -> None:
    await log.place(20)
    async with log.relay().running():
        await log.until_published()
        await eventually_async(lambda: is_noted(log))  # or what was noted of the old topics would fit the new ones
        await log.admin.reset()
        await log.place(5)
        await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)


async def is_noted(log: RelayedLog) -> bool:
    """Whether the lease's cursors have come to the log's end."""
    next_seqs = await log.next_seqs()
    return all(cursor.next_seq == next_seqs[shard] for (_, shard), cursor in (await log.lease().cursors()).items())


async def test_an_empty_topic_that_is_the_same_one_goes_on_at_the_cursor(log: RelayedLog) -> None:
    await log.place(5)
    async with log.bus().take_over({}, [1] * SHARDS) as publication:
        kept = {key: Cursor(topic_id=cursor.topic_id, next_seq=2) for key, cursor in publication.cursors.items()}
    async with log.bus().take_over(kept, [1] * SHARDS) as publication:
        assert publication.next_seqs == [2] * SHARDS


async def test_topics_that_end_before_the_log_begins_are_refused_until_they_are_made_anew(log: RelayedLog) -> None:
    await log.place(30)
    async with log.relay().running():
        await log.until_published()
    before = log.published(committed=False)
    await log.place(30)
    first = await trimmed(log)
    await log.place(30)
    async with (await reading_the_database(log)).running():
        await until_refused()
        await log.place(1)
        await eventually(lambda: backlog() >= 31)
        assert before == log.published(committed=False)
        await log.admin.reset()
        await log.until_published()
    expected = {shard: list(range(first[shard], seq)) for shard, seq in enumerate(await log.next_seqs())}
    assert expected == log.published() == log.published(log.state)


async def test_a_new_topic_begins_with_the_log_whatever_is_noted_of_its_predecessor(log: RelayedLog) -> None:
    async with log.relay().running():
        await log.place(30)
        await log.until_published()
        await eventually_async(lambda: is_noted(log))
    kept = await log.lease().cursors()
    first = await trimmed(log)
    old = {key: Cursor(topic_id=cursor.topic_id, next_seq=2) for key, cursor in kept.items()}
    epoch = await log.lease().acquire()
    assert epoch is not None
    await log.lease().keep(epoch, old)
    await log.lease().release(epoch)
    await log.place(30)
    await log.admin.reset()
    async with (await reading_the_database(log)).running():
        await log.until_published()
    expected = {shard: list(range(first[shard], seq)) for shard, seq in enumerate(await log.next_seqs())}
    assert expected == log.published() == log.published(log.state)


async def reading_the_database(log: RelayedLog) -> Relay:
    """A relay that does not have the log's latest events in memory."""
    without_tail = await open_log(log.database, SHARDS, tail_bytes_max=0)
    return Relay(without_tail, log.heads, log.lease(), log.bus(), SystemClock())


async def trimmed(log: RelayedLog) -> list[int]:
    """Forgets every event, and first what is noted of the topics, as an operator may; returns where the log begins."""
    forget = text("DELETE FROM relay_cursors")
    await log.database.write(lambda connection: connection.execute(forget))
    for shard in range(SHARDS):
        await log.log.trim(shard, SystemClock().now_us() + HOUR_US, 1_000)
    return await log.log.earliest()


def backlog() -> float:
    return REGISTRY.get_sample_value("stateset_order_relay_backlog_events") or 0.0


async def test_topics_ahead_of_the_log_are_refused_and_left_alone(kafka: Kafka, tmp_path: Path) -> None:
    for folder in ("now", "backup"):
        (tmp_path / folder).mkdir()
    async with relayed_log(kafka, tmp_path / "now") as log:
        await log.place(10)
        async with log.relay().running():
            await log.until_published()
        before = log.published()
        async with relayed_log(kafka, tmp_path / "backup") as older:
            relay = older.relay(log_epoch=log.log.log_epoch)
            with pytest.raises(StartupError, match="stateset topics reset"):
                await relay.check()
            await older.place(1)
            async with relay.running():
                await until_refused()
        assert before == log.published(committed=False)


async def test_topics_of_another_log_are_refused_and_left_alone(kafka: Kafka, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    async with relayed_log(kafka, tmp_path / "first") as log, relayed_log(kafka, tmp_path / "second") as other:
        await log.place(10)
        async with log.relay().running():
            await log.until_published()
        before = log.published(committed=False)
        await other.place(10)
        with pytest.raises(StartupError, match=r"stateset topics reset.*topic_prefix"):
            await other.relay().check()
        async with other.relay().running():
            await until_refused()
        assert before == log.published(committed=False)


async def until_refused() -> None:
    await eventually(lambda: REGISTRY.get_sample_value("stateset_order_relay_refused") == 1, within_seconds=15)


async def test_records_that_are_not_ours_are_passed_over_by_a_successor(log: RelayedLog) -> None:
    for topic in (log.events, log.state):
        stray(log.kafka, topic, 2, records=20)
    for _ in range(2):
        await log.place(20)
        await log.relay().check()
        async with log.relay().running():
            await log.until_published()
        for topic in (log.events, log.state):
            stray(log.kafka, topic, 0, 1, records=20)
    assert await log.expected() == log.published() == log.published(log.state)


async def test_topics_that_end_with_too_many_records_that_are_not_ours_are_refused(log: RelayedLog) -> None:
    stray(log.kafka, log.events, 1, records=5_000)
    with pytest.raises(StartupError, match=rf"topic {log.events}: partition 1 .* not ours.*`stateset topics reset`"):
        await log.relay().check()


async def test_a_state_topic_that_has_lost_records_is_told_of(log: RelayedLog) -> None:
    await log.place(20)
    async with log.relay().running():
        await log.until_published()
    await set_config(log.kafka, log.state, "cleanup.policy", "delete")
    expire(log.kafka, log.state, 2, 1)
    with capture_logs() as told:
        async with log.bus().take_over(await log.lease().cursors(), [1] * SHARDS):
            pass
    [lost] = [each for each in told if each.get("reason") == "STATE_LOST"]
    assert (lost["topic"], lost["partitions"]) == (log.state, [2])
    assert "stateset topics reset" in lost["event"]


async def test_a_state_topic_that_begins_with_a_trimmed_log_says_so(log: RelayedLog) -> None:
    with capture_logs() as told:
        async with log.bus().take_over({}, [1, 5, 1]):
            pass
    assert [each["shards"] for each in told if each.get("reason") == "STATE_INCOMPLETE"] == [[1]]


async def test_another_number_of_partitions_is_refused(kafka: Kafka, tmp_path: Path) -> None:
    await TopicAdmin(kafka.cluster, shards=SHARDS + 1, prefix=kafka.prefix).apply()
    async with relayed_log(kafka, tmp_path, topics=False) as log:
        with pytest.raises(BusRefusedError, match="4 partitions"):
            await log.bus().next_seqs()


async def test_partitions_that_are_added_under_a_relay_are_refused_until_the_topics_are_made_anew(
    log: RelayedLog,
) -> None:
    await log.place(10)
    async with log.relay().running():
        await log.until_published()
        await add_partition(log.kafka, log.events)
        await until_refused()
        before = log.published(committed=False)
        await log.place(10)
        assert before == log.published(committed=False)
        await log.admin.reset()
        await log.until_published()
    assert await log.expected() == log.published() == log.published(log.state)


async def test_topics_that_are_made_late_are_waited_for(kafka: Kafka, tmp_path: Path) -> None:
    async with relayed_log(kafka, tmp_path, topics=False) as log:
        await log.relay().check()
        with pytest.raises(BusUnavailableError, match=f"{log.events}.*UNKNOWN_TOPIC_OR_PART.*`stateset topics apply`"):
            await log.bus().next_seqs()
        await log.place(3)
        async with log.relay().running():
            await log.admin.apply()
            await log.place(3)
            await log.until_published()
        assert await log.expected() == log.published()


async def test_the_lease_has_one_holder_at_a_time(log: RelayedLog) -> None:
    clock = ManualClock()
    first, second = log.lease("first", clock), log.lease("second", clock)
    cursor = {("t", 0): Cursor(topic_id="x", next_seq=5)}
    epoch = await first.acquire()
    assert epoch is not None
    assert await first.keep(epoch, cursor)
    assert await second.acquire() is None
    clock.advance(60)
    newer = await second.acquire()
    assert newer == epoch + 1
    assert not await first.keep(epoch, {("t", 0): Cursor(topic_id="x", next_seq=9)})
    assert cursor == await first.cursors()
    await second.release(newer)
    assert await first.acquire() == newer + 1


async def test_a_broker_that_is_killed_misses_nothing_when_it_is_back(broker: BrokerProcess, tmp_path: Path) -> None:
    kafka = Kafka(servers=broker.address, prefix="killed.")
    async with relayed_log(kafka, tmp_path) as log:
        async with log.relay().running():
            await log.place(50)
            broker.kill()
            await log.place(50)  # commands go on
            await asyncio.to_thread(broker.start)
            await log.place(50)
            await log.until_published(within_seconds=60)
        assert await log.expected() == log.published() == log.published(log.state)


class WrongClock(SystemClock):
    """A clock that is two hours late, or fast."""

    ahead_us = -2 * HOUR_US

    def now_us(self) -> int:
        """What it shows."""
        return super().now_us() + self.ahead_us


async def test_every_event_is_published_whatever_a_broker_takes_by_default(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    hard_to_please = {
        "message.max.bytes": "1000",
        # Any less, and the broker's own log of transactions meets it where the machine is slow.
        "log.message.timestamp.before.max.ms": str(HOUR_US // 1000),
        "log.message.timestamp.after.max.ms": str(HOUR_US // 1000),
        "log.retention.bytes": "1000",
        "log.cleanup.policy": "compact",
    }
    set_broker_defaults(broker.address, hard_to_please)
    kafka = Kafka(servers=broker.address, prefix="default.")
    clock = WrongClock()
    async with relayed_log(kafka, tmp_path, clock=clock) as log:
        await log.place(50)
        clock.ahead_us = 2 * HOUR_US
        await log.place(50)
        async with log.relay().running():
            await log.until_published()
        assert await log.expected() == log.published() == log.published(log.state)


async def test_a_record_that_is_refused_is_told_by_its_reason(kafka: Kafka) -> None:
    topic = f"{kafka.prefix}small"
    await make_topic(kafka, topic, partitions=SHARDS, config={"max.message.bytes": "1000"})
    for _ in range(3):  # what is thrown away because of it is told as well, now and then before it
        with closing(TransactionalProducer(kafka.cluster, topic)) as producer:
            producer.take_over()
            producer.begin()
            told = f"{topic}: MSG_SIZE_TOO_LARGE.*`stateset topics diff`.*`stateset topics apply`"
            with pytest.raises(BrokerError, match=told):
                fill(producer, topic)


def fill(producer: TransactionalProducer, topic: str) -> None:
    for number in range(300):
        value = secrets.token_bytes(300)  # which nothing compresses
        producer.send(topic, number % SHARDS, key=b"o-1", value=value, timestamp_ms=0, headers=[])
    producer.commit()


def as_cloud_event(record: Message) -> BaseCloudEvent:
    headers = {name: value.encode() for name, value in headers_of(record).items()}
    return from_kafka(KafkaMessage(headers=headers, key=record.key(), value=record.value() or b""), JSONFormat())
