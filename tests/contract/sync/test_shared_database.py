"""Several Sync Servers on one PostgreSQL database: their stores do not lose, repeat or take back one another's work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from infra.kernel.position import Position
from infra.runtime.clock import SystemClock
from infra.runtime.database import DatabaseLockedError, DatabaseUnavailableError
from infra.runtime.sql import open_database
from sync.adapters.sql_read_model import SqlReadModel
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.application.acks import Acks
from sync.domain.log import OrderRow
from sync.domain.settlement import Changes, Park, Settlement
from sync.domain.subscription import Ack, AckOutcome, AckStatus, Opening, SubscriptionKey
from tests.contract.sync.test_parking import parked
from tests.harness.postgres import fresh_database

START = Position(log_epoch="log-1", next_seq=(1, 1))
ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Replica:
    """One server's stores, on connections of its own."""

    read_model: SqlReadModel
    subscriptions: SqlSubscriptions


@pytest.fixture
async def shared_url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
async def replicas(shared_url: str) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        databases = [
            await stack.enter_async_context(
                open_database(shared_url, service="sync", migrations=Path("sync/migrations"))
            )
            for _ in range(2)
        ]
        yield [Replica(SqlReadModel(database), SqlSubscriptions(database)) for database in databases]


def orders(version: int) -> list[OrderRow]:
    return [
        OrderRow(
            order_id=f"o-{number}",
            customer_id="c-1",
            store_id="",
            currency_code="USD",
            state="FILLED",
            version=version,
            body=b"%d" % version,
        )
        for number in range(50)
    ]


async def test_servers_that_begin_at_once_agree_on_one_position(replicas: list[Replica]) -> None:
    await asyncio.gather(*(replica.read_model.begin(START) for replica in replicas))
    later = START.moved({0: 9, 1: 9})
    await replicas[0].read_model.apply([], later)
    await replicas[1].read_model.begin(START)
    assert [later, later] == [await replica.read_model.position() for replica in replicas]


async def test_the_position_moves_forward_only_though_one_server_is_behind(replicas: list[Replica]) -> None:
    ahead, behind = (replica.read_model for replica in replicas)
    await ahead.begin(START)
    await ahead.apply(orders(3), START.moved({0: 9, 1: 2}))
    await behind.apply(orders(2), START.moved({0: 5, 1: 4}))
    assert START.moved({0: 9, 1: 4}) == await behind.position()
    found = await behind.find("o-1")
    assert found is not None
    assert found.version == 3


async def test_servers_that_write_the_same_orders_at_once_in_different_sequence_both_come_through(
    replicas: list[Replica],
) -> None:
    first, second = (replica.read_model for replica in replicas)
    await first.begin(START)
    for version in range(1, ROUNDS + 1):
        position = START.moved({0: version + 1, 1: version + 1})
        try:
            await asyncio.gather(first.apply(orders(version), position), second.apply(orders(version)[::-1], position))
        except DatabaseUnavailableError as error:
            pytest.fail(f"they waited for each other: {error}")
    assert START.moved({0: ROUNDS + 1, 1: ROUNDS + 1}) == await first.position()


async def test_streams_that_open_a_new_subscription_at_once_get_different_epochs_and_one_is_fenced(
    replicas: list[Replica],
) -> None:
    for number in range(ROUNDS):
        key = SubscriptionKey(principal="local", name=f"s-{number}")
        opening = Opening(key=key, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1, 1: 1})
        taken = await asyncio.gather(*(replica.subscriptions.open(opening) for replica in replicas))
        assert sorted(each.delivery_epoch for each in taken) == [1, 2]
        acks = [
            Ack(key=key, ack_id="a", delivery_epoch=each.delivery_epoch, through={0: 2 + each.delivery_epoch})
            for each in taken
        ]
        outcomes = await asyncio.gather(
            *(replica.subscriptions.commit([ack]) for replica, ack in zip(replicas, acks, strict=True))
        )
        by_epoch = {ack.delivery_epoch: outcome.status for ack, [outcome] in zip(acks, outcomes, strict=True)}
        assert by_epoch == {1: AckStatus.FENCED, 2: AckStatus.COMMITTED}
        stored = await replicas[0].subscriptions.find(key)
        assert stored is not None
        assert stored.next_seq(0) == 4


async def test_a_subscription_is_deleted_while_another_server_acks_parks_and_opens_it(replicas: list[Replica]) -> None:
    acking, deleting = (replica.subscriptions for replica in replicas)
    key = SubscriptionKey(principal="local", name="s-1")
    opening = Opening(key=key, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1, 1: 1})
    epochs = [0]
    for _ in range(ROUNDS):
        epochs.append((await acking.open(opening)).delivery_epoch)
        parks = [
            Settlement(
                key=key,
                delivery_epoch=epochs[-1],
                changes=Changes(shards={0}, parked=[Park(event=parked(0, seq), first=seq, again=False)]),
            )
            for seq in range(1, 100)
        ]
        try:
            opened, *_ = await asyncio.gather(acking.open(opening), acking.commit(parks), deleting.delete(key))
            await acking.commit(parks)
        except DatabaseUnavailableError as error:
            pytest.fail(f"they waited for each other: {error}")
        epochs.append(opened.delivery_epoch)
    assert epochs == sorted(set(epochs))


async def test_a_subscription_that_somebody_holds_fails_its_own_acks_and_nobody_elses(
    replicas: list[Replica], shared_url: str
) -> None:
    subscriptions = replicas[0].subscriptions
    keys = [SubscriptionKey(principal="local", name=name) for name in ("held", "other")]
    for key in keys:
        await subscriptions.open(Opening(key=key, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1}))
    acks = Acks(subscriptions, SystemClock())
    outcomes: dict[str, AckOutcome | Exception] = {}
    answered = asyncio.Event()
    for key in keys:

        def answer(outcome: AckOutcome | Exception, name: str = key.name) -> None:
            outcomes[name] = outcome
            if len(outcomes) == len(keys):
                answered.set()

        await acks.submit(Ack(key=key, ack_id="a", delivery_epoch=1, through={0: 5}), answer)
    async with held(shared_url, "held"):
        committing = asyncio.create_task(acks.run(), name="acks")
        await asyncio.wait_for(answered.wait(), 20)
        committing.cancel()
    assert isinstance(outcomes["held"], DatabaseLockedError)
    other = outcomes["other"]
    assert isinstance(other, AckOutcome)
    assert other.status is AckStatus.COMMITTED


@asynccontextmanager
async def held(url: str, name: str) -> AsyncIterator[None]:
    """A transaction that keeps the subscription's row locked."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT * FROM stateset_sync.subscriptions WHERE name = $1 FOR UPDATE", name)
            yield
    finally:
        await connection.close()
