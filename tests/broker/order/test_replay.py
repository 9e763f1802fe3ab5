"""Events once more on a real broker: beside the log's topics, which know nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from stateset.order.v1 import log_service_pb2
from stateset_client import OrderClient, OrderNotFoundError, StateSetError

from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.topics import EVENTS, REPLAY
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_records import headers_of, read_topic, seqs_of
from tests.harness.order_service import OrderService, order_service
from tests.harness.waiting import eventually_async

SHARDS = 3
Replay = log_service_pb2.ReplayEventsRequest


@pytest.fixture
async def service(kafka: Kafka, tmp_path: Path) -> AsyncIterator[OrderService]:
    await TopicAdmin(kafka.cluster, shards=SHARDS, prefix=kafka.prefix).apply()
    bus = {"kafka_bootstrap_servers": kafka.servers, "topic_prefix": kafka.prefix}
    async with order_service(tmp_path, shards=SHARDS, **bus) as running:
        yield running


@pytest.fixture
async def client(service: OrderService) -> AsyncIterator[OrderClient]:
    async with OrderClient.connect(service.address) as connected:
        yield connected


async def place(service: OrderService, orders: int) -> None:
    await asyncio.gather(*(service.place(1, order_id=f"o-{number}") for number in range(orders)))


async def heads(client: OrderClient) -> list[int]:
    return [shard.next_seq for shard in (await client.get_log_head(log_service_pb2.GetLogHeadRequest())).shards]


async def until_published(kafka: Kafka, client: OrderClient) -> dict[int, list[int]]:
    expected = {shard: list(range(1, next_seq)) for shard, next_seq in enumerate(await heads(client))}

    async def done() -> bool:
        return seqs_of(read_topic(kafka.servers, EVENTS.name(kafka.prefix), SHARDS)) == expected

    await eventually_async(done, within_seconds=30)
    return expected


async def test_a_replay_repeats_the_records_byte_for_byte_and_the_log_goes_on_without_a_gap(
    kafka: Kafka, service: OrderService, client: OrderClient
) -> None:
    await place(service, 20)
    before = await until_published(kafka, client)
    whole = log_service_pb2.EventRange(shard=1, first_seq=2, last_seq=99)
    told = await client.replay_events(Replay(replay_id="mend-the-range", range=whole))
    assert (told.topic, told.events) == (REPLAY.name(kafka.prefix), len(before[1]) - 1)
    await client.replay_events(Replay(replay_id="mend-two-orders", order_ids=["o-3", "o-7"]))
    await service.place(1, order_id="o-new")
    await until_published(kafka, client)
    published = read_topic(kafka.servers, EVENTS.name(kafka.prefix), SHARDS)
    originals = {headers_of(each)["ce_id"]: each for of in published.values() for each in of}
    replayed = [each for of in read_topic(kafka.servers, REPLAY.name(kafka.prefix), SHARDS).values() for each in of]
    for record in replayed:
        headers = headers_of(record)
        replay_id = headers.pop("ce_replayid")
        original = originals[headers["ce_id"]]
        assert headers == headers_of(original)
        assert (record.key(), record.value(), record.partition()) == (
            original.key(),
            original.value(),
            original.partition(),
        )
        # Kafka drops records by age: that of a replayed one is counted from now.
        assert (record.timestamp()[0], original.timestamp()[0]) == (TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_CREATE_TIME)
        assert (replay_id == "mend-the-range") or record.key() in (b"o-3", b"o-7")
    of_range = [each for each in replayed if headers_of(each)["ce_replayid"] == "mend-the-range"]
    assert [int(headers_of(each)["ce_sequence"]) for each in of_range] == before[1][1:]
    assert len(replayed) == len(of_range) + 2


async def test_a_long_replay_goes_on_page_by_page(
    kafka: Kafka, service: OrderService, client: OrderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("order.application.replay.EVENTS_MAX", 3)
    ids = [f"o-{number}" for number in range(7)]
    await place(service, 7)
    request = Replay(replay_id="mend-them-all", order_ids=ids)
    counts: list[int] = []
    while not counts or request.page_token:
        page = await client.replay_events(request)
        counts.append(page.events)
        request.page_token = page.next_page_token
    assert counts == [3, 3, 1]
    replayed = read_topic(kafka.servers, REPLAY.name(kafka.prefix), SHARDS)
    assert sorted((each.key() or b"").decode() for of in replayed.values() for each in of) == ids


async def test_what_cannot_be_replayed_is_told_and_publishes_nothing(kafka: Kafka, client: OrderClient) -> None:
    with pytest.raises(OrderNotFoundError):
        await client.replay_events(Replay(replay_id="mend-nothing", order_ids=["o-1"]))
    assert not any(read_topic(kafka.servers, REPLAY.name(kafka.prefix), SHARDS).values())


async def test_without_its_topic_a_replay_says_how_to_make_it(
    kafka: Kafka, service: OrderService, client: OrderClient
) -> None:
    await service.place(1, order_id="o-1")
    await TopicAdmin(kafka.cluster, shards=SHARDS, prefix=kafka.prefix).delete()
    with pytest.raises(StateSetError) as refused:
        await client.replay_events(Replay(replay_id="mend-an-order", order_ids=["o-1"]), timeout_seconds=20)
    assert refused.value.reason == "BUS_REFUSED"
    assert "stateset topics apply" in refused.value.message
