import re

import pytest

from infra.runtime.kafka.admin import BrokerAwayError, TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import StartupError
from infra.runtime.topics import EVENTS, STATE, TOPICS
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_topics import delete_topic, expire, make_topic, set_config, set_retention, stray
from tests.harness.ports import free_ports


async def test_topics_that_are_missing_are_made_and_then_nothing_differs(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=3, prefix=kafka.prefix)
    assert [difference.what for difference in await admin.diff()] == ["topic"] * 3
    await admin.apply()
    assert await admin.diff() == []
    assert await admin.apply() == []


async def test_a_configuration_that_drifted_is_told_and_corrected(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix)
    await admin.apply()
    await set_retention(kafka, "1000")
    [told] = await admin.diff()
    assert str(told) == f"{EVENTS.name(kafka.prefix)}: retention.ms is 1000, and should be 604800000"
    await admin.apply()
    assert await admin.diff() == []


async def test_a_compacted_topic_that_has_lost_records_needs_a_reset(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix)
    await admin.apply()
    name = STATE.name(kafka.prefix)
    for topic in (name, EVENTS.name(kafka.prefix)):
        stray(kafka, topic, 1, records=5)
    expire(kafka, EVENTS.name(kafka.prefix), 1, 3)
    await set_config(kafka, name, "cleanup.policy", "delete")
    expire(kafka, name, 1, 3)
    lost = f"{name}: records below offset 3 of partition 1 are deleted, and should be kept; `stateset topics reset`.*"
    assert [difference.is_lost for difference in await admin.apply()] == [False, True]
    [told] = await admin.diff()
    assert re.fullmatch(lost, str(told))
    assert [told] == await admin.provide()
    await admin.reset()
    assert await admin.diff() == []


async def test_a_start_makes_topics_where_there_is_none_and_changes_none_that_is_there(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix)
    assert [difference.is_missing for difference in await admin.provide()] == [True] * 3
    assert await admin.provide() == []
    await set_retention(kafka, "1000")
    [told] = await admin.provide()
    assert [told] == await admin.diff()
    assert (told.what, told.found) == ("retention.ms", "1000")


async def test_a_start_makes_no_topic_among_others(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix)
    await admin.apply()
    missing = STATE.name(kafka.prefix)
    await delete_topic(kafka, missing)
    with pytest.raises(StartupError, match=f"^{missing}: missing, and others are there; run `stateset topics apply`$"):
        await admin.provide()
    assert [difference.topic for difference in await admin.diff()] == [missing]


async def test_another_number_of_partitions_is_refused_in_one_line_and_left_alone(kafka: Kafka) -> None:
    await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).apply()
    other = TopicAdmin(kafka.cluster, shards=3, prefix=kafka.prefix)
    with pytest.raises(
        StartupError, match=r"has 2 partitions, and the log 3 shards.*`stateset topics reset --shards 3`"
    ):
        await other.apply()
    with pytest.raises(StartupError, match="has 2 partitions, and the log 3 shards"):
        await other.provide()
    assert await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).diff() == []


async def test_a_reset_leaves_empty_topics_with_the_new_number_of_partitions(kafka: Kafka) -> None:
    await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).apply()
    for _ in range(3):
        await TopicAdmin(kafka.cluster, shards=3, prefix=kafka.prefix).reset()
        assert await TopicAdmin(kafka.cluster, shards=3, prefix=kafka.prefix).diff() == []


async def test_topics_that_differ_in_partitions_leave_it_to_the_caller_how_many_are_right(kafka: Kafka) -> None:
    admin = TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix)
    assert await admin.partitions() is None
    await admin.apply()
    assert await admin.partitions() == 2
    await delete_topic(kafka, STATE.name(kafka.prefix))
    assert await admin.partitions() == 2
    await make_topic(kafka, STATE.name(kafka.prefix), partitions=3)
    with pytest.raises(StartupError, match="the topics have 2 and 3 partitions: say with --shards"):
        await admin.partitions()


async def test_a_broker_that_is_away_is_one_line() -> None:
    [port] = free_ports(1)
    with pytest.raises(BrokerAwayError, match=f"^no Kafka answers at 127.0.0.1:{port} ") as refused:
        await TopicAdmin(Cluster(servers=f"127.0.0.1:{port}"), shards=3, prefix="").diff()
    assert "\n" not in str(refused.value)


async def test_two_installations_share_a_broker_by_their_prefixes(kafka: Kafka) -> None:
    await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).apply()
    other = TopicAdmin(kafka.cluster, shards=3, prefix=f"other-{kafka.prefix}")
    await other.apply()
    await other.delete()
    assert await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).diff() == []
    assert {topic.name(f"other-{kafka.prefix}") for topic in TOPICS} == {
        difference.topic for difference in await other.diff()
    }
