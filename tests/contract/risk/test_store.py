"""Exposures in every database that there is."""

import random
from collections.abc import AsyncIterator, Sequence

import pytest
import sqlalchemy as sa
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.risk.v1 import risk_service_pb2 as wire
from stateset_client import Checkpoint

from consumers.answers import page_of
from consumers.risk.main import RISK, apply
from consumers.risk.model import Exposure, ExposureKey
from consumers.risk.store import EXPOSURES, RiskSession, RiskStore, to_exposure
from infra.runtime.database import Database
from tests.harness.order_histories import histories, interleaved
from tests.harness.serving_consumer import open_consumer

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)

SEED = 20261123


class CutError(Exception):
    """The transaction is cut here."""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_consumer(RISK, database_url) as opened:
        yield opened


async def fold(database: Database, events: Sequence[OrderEvent]) -> None:
    """In one transaction."""

    def work(session: RiskSession) -> None:
        session.versions({event.order_id for event in events})
        for event in events:
            apply(event, session)

    await RiskStore(database).transact(work)


async def content(database: Database) -> dict[ExposureKey, Exposure]:
    return await database.read(lambda rows: dict(map(to_exposure, rows.execute(sa.select(EXPOSURES)))))


def expected(of_orders: Sequence[Sequence[OrderEvent]]) -> dict[str, int]:
    """Minor units of filled units by customer and currency, from the latest events."""
    result: dict[str, int] = {}
    for events in of_orders:
        order = events[-1].order
        key = f"{order.customer_id} {order.currency_code}"
        result[key] = result.get(key, 0) + order.filled_total.minor_units
    return result


async def test_exposures_add_up_whatever_the_size_of_transactions(database: Database) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a seed to replay
    of_orders = histories(chance, 30)
    log = interleaved(chance, of_orders)
    while log:
        size = chance.randint(1, 20)
        await fold(database, log[:size])
        log = log[size:]
    held = await content(database)
    assert expected(of_orders) == {" ".join(key): exposure.filled_amount for key, exposure in held.items()}
    assert any(exposure.open_notional for exposure in held.values())


async def test_pages_follow_each_other_without_a_gap_and_without_a_repeat(database: Database) -> None:
    chance = random.Random(SEED)  # noqa: S311 - a seed to replay
    await fold(database, interleaved(chance, histories(chance, 30)))
    request = wire.ListExposuresRequest(page_size=2, filter='customer_id != "c-1"')
    listed: list[ExposureKey] = []
    while True:
        rows, request.page_token = await database.read(page_of(request, EXPOSURES).read)
        listed += [to_exposure(row)[0] for row in rows]
        if not request.page_token:
            break
    assert sorted(key for key in await content(database) if key.customer_id != "c-1") == listed
    assert len(listed) > 2


async def test_versions_are_those_of_the_orders_that_were_applied(database: Database) -> None:
    [events] = histories(random.Random(SEED), 1)  # noqa: S311 - a seed to replay
    await fold(database, events)
    seen: list[object] = []
    asked = ["o-0", *(f"unknown-{number}" for number in range(1_200))]
    await RiskStore(database).transact(lambda session: seen.append(dict(session.versions(asked))))
    assert seen == [{"o-0": len(events)}]


async def test_a_transaction_that_fails_leaves_neither_effect_nor_checkpoint(database: Database) -> None:
    [events] = histories(random.Random(SEED), 1)  # noqa: S311 - a seed to replay
    store = RiskStore(database)

    def work(session: RiskSession) -> None:
        store.create(session, Checkpoint(position=Position(log_epoch="log", next_seq=[2]), delivery_epoch=1))
        apply(events[0], session)
        session.flush()
        raise CutError

    with pytest.raises(CutError):
        await store.transact(work)
    assert await store.load() is None
    assert await content(database) == {}
