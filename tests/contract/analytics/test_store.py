"""Figures by day in every database that there is."""

import random
from collections.abc import AsyncIterator, Sequence

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client import Checkpoint

from consumers.analytics.main import ANALYTICS, apply
from consumers.analytics.model import Funnel, PlacingKey, TransitionKey
from consumers.analytics.store import AnalyticsSession, AnalyticsStore, Entry, read_entries, read_funnel
from consumers.analytics.wire import state_name
from infra.runtime.database import Database
from tests.harness.day_figures import recomputed
from tests.harness.order_histories import histories, interleaved
from tests.harness.serving_consumer import open_consumer

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)

SEED = 20261123


class CutError(Exception):
    """The transaction is cut here."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_consumer(ANALYTICS, database_url) as opened:
        yield opened


async def fold(database: Database, events: Sequence[OrderEvent]) -> None:
    """In one transaction."""

    def work(session: AnalyticsSession) -> None:
        session.versions({event.order_id for event in events})
        for event in events:
            apply(event, session)

    await AnalyticsStore(database).transact(work)


async def content(database: Database) -> list[Entry]:
    return await database.read(lambda rows: list(read_entries(rows)))


async def test_figures_are_those_of_a_count_over_the_whole_log_whatever_the_size_of_transactions(
    database: Database,
) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a seed to replay
    log = interleaved(chance, histories(chance, 30))
    left = log
    while left:
        size = chance.randint(1, 20)
        await fold(database, left[:size])
        left = left[size:]
    truth, held = recomputed(log), await content(database)
    assert {
        (day, state_name(before), state_name(after)): n for (day, before, after), n in truth.transitions.items()
    } == {key: sum(amounts) for key, amounts in held if isinstance(key, TransitionKey)}
    assert {key: (truth.orders[key], truth.gross[key]) for key in truth.orders} == {
        key: amounts for key, amounts in held if isinstance(key, PlacingKey)
    }
    assert Funnel(**truth.funnel) == await database.read(lambda rows: read_funnel(rows, "0001-01-01", "9999-12-31"))


async def test_a_funnel_of_no_orders_is_one_of_zeros(database: Database) -> None:
    assert Funnel() == await database.read(lambda rows: read_funnel(rows, "0001-01-01", "9999-12-31"))


async def test_a_transaction_that_fails_leaves_neither_effect_nor_checkpoint(database: Database) -> None:
    [events] = histories(random.Random(SEED), 1)  # noqa: S311 - a seed to replay
    store = AnalyticsStore(database)

    def work(session: AnalyticsSession) -> None:
        store.create(session, Checkpoint(position=Position(log_epoch="log", next_seq=[2]), delivery_epoch=1))
        apply(events[0], session)
        session.flush()
        raise CutError

    with pytest.raises(CutError):
        await store.transact(work)
    assert await store.load() is None
    assert await content(database) == []
