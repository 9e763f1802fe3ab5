"""What a projection may rely on in a consumer's store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset_client import Checkpoint, Move

from consumers.portfolio.model import Balance, BalanceKey, Holding, HoldingKey, Line, Snapshot
from consumers.portfolio.store import PortfolioSession, PortfolioStore
from tests.harness.portfolio_store import content, open_portfolio

FIRST = Checkpoint(position=Position(log_epoch="log", next_seq=[1, 1]), delivery_epoch=3)


class CutError(Exception):
    """The transaction is cut here."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[PortfolioStore]:
    async with open_portfolio(tmp_path) as database:
        yield PortfolioStore(database)


async def moved(store: PortfolioStore, step: Move) -> bool:
    results: list[bool] = []
    await store.transact(lambda session: results.append(store.move(session, step)))
    return results[0]


def step(first_seq: int, next_seq: int, delivery_epoch: int = 3) -> Move:
    return Move(shard=1, first_seq=first_seq, next_seq=next_seq, delivery_epoch=delivery_epoch)


def pens(leaves: int) -> Snapshot:
    line = Line(product_id="pen", filled=0, returned=0, leaves=leaves, price_nanos=10**9, filled_minor_units=0)
    return Snapshot(customer_id="ann", currency_code="USD", lines=[line])


async def test_a_new_store_has_no_checkpoint_and_keeps_the_first_one(store: PortfolioStore) -> None:
    assert await store.load() is None
    await store.transact(lambda session: store.create(session, FIRST))
    assert await store.load() == FIRST


async def test_a_checkpoint_moves_only_from_where_it_is(store: PortfolioStore) -> None:
    await store.transact(lambda session: store.create(session, FIRST))
    assert await moved(store, step(1, 5))
    assert not await moved(store, step(1, 5))
    assert not await moved(store, step(6, 7))
    assert await moved(store, step(5, 6))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.position.next_seq == [1, 6]


async def test_a_reader_of_an_older_opening_moves_nothing(store: PortfolioStore) -> None:
    await store.transact(lambda session: store.create(session, FIRST))
    assert await moved(store, step(1, 2, delivery_epoch=4))
    assert not await moved(store, step(2, 3, delivery_epoch=3))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.delivery_epoch == 4


async def test_a_transaction_that_fails_leaves_neither_effect_nor_checkpoint(
    store: PortfolioStore, tmp_path: Path
) -> None:
    await store.transact(lambda session: store.create(session, FIRST))

    def work(session: PortfolioSession) -> None:
        assert store.move(session, step(1, 2))
        session.apply("o-1", 1, pens(2))
        session.flush()
        raise CutError

    with pytest.raises(CutError):
        await store.transact(work)
    assert await store.load() == FIRST
    seen: list[object] = []
    await store.transact(lambda session: seen.append(dict(session.versions(["o-1"]))))
    assert seen == [{}]


async def test_versions_are_those_of_the_orders_that_were_applied(store: PortfolioStore) -> None:
    await store.transact(lambda session: session.apply("o-1", 7, pens(2)))
    seen: list[object] = []
    asked = ["o-1", *(f"unknown-{number}" for number in range(2_000))]
    await store.transact(lambda session: seen.append(dict(store.versions(session, asked))))
    assert seen == [{"o-1": 7}]


async def test_effects_add_up_over_transactions(tmp_path: Path) -> None:
    async with open_portfolio(tmp_path) as database:
        store = PortfolioStore(database)
        for version, leaves in ((1, 5), (2, 3)):

            def work(session: PortfolioSession, version: int = version, leaves: int = leaves) -> None:
                store.versions(session, ["o-1"])
                session.apply("o-1", version, pens(leaves))

            await store.transact(work)
        await store.transact(lambda session: session.apply("o-2", 1, pens(10)))
        assert await content(database) == {
            HoldingKey("ann", "pen", "USD"): Holding(0, 13, 0),
            BalanceKey("ann", "USD"): Balance(0, 1300),
        }
