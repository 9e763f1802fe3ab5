"""Sums of consumers that go beyond what 64 bits can hold, in every database that there is."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from sqlalchemy import text

from consumers.analytics.main import ANALYTICS
from consumers.analytics.model import Snapshot as AnalyticsSnapshot
from consumers.analytics.model import Step
from consumers.analytics.store import PLACINGS, AnalyticsStore, to_placing
from consumers.answers import money, told
from consumers.portfolio.main import PORTFOLIO
from consumers.portfolio.model import Line, Snapshot
from consumers.portfolio.store import BALANCES, HOLDINGS, PortfolioStore, to_balance, to_holding
from consumers.risk.main import RISK
from consumers.risk.model import Line as RiskLine
from consumers.risk.model import Snapshot as RiskSnapshot
from consumers.risk.store import EXPOSURES, RiskStore, to_exposure
from consumers.runner import Consumer
from consumers.store import Store
from infra.runtime.database import Database
from infra.runtime.lifespan import StartupError
from tests.harness.serving_consumer import open_consumer

databases = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)

HUGE = 10**18 + 1
ORDERS = 40


class Case(NamedTuple):
    """A consumer, an order in it of about HUGE minor units, how its rows are read, and what they are in the end."""

    consumer: Consumer[Any]
    store: Callable[[Database], Store[Any]]
    order: object
    read: Sequence[tuple[sa.Table, Callable[[Any], Any]]]
    values: Sequence[tuple[int, ...]]


def _line() -> Line:
    price_nanos = 10**7
    return Line(product_id="p", filled=HUGE, returned=0, leaves=HUGE, price_nanos=price_nanos, filled_minor_units=HUGE)


CASES = [
    Case(
        RISK,
        RiskStore,
        RiskSnapshot(
            customer_id="c",
            currency_code="USD",
            lines=[RiskLine(leaves=HUGE, price_nanos=10**7, filled_minor_units=HUGE)],
        ),
        [(EXPOSURES, to_exposure)],
        [(ORDERS * HUGE, ORDERS * HUGE)],
    ),
    Case(
        PORTFOLIO,
        PortfolioStore,
        Snapshot(customer_id="c", currency_code="USD", lines=[_line()]),
        [(HOLDINGS, to_holding), (BALANCES, to_balance)],
        [(ORDERS * HUGE,) * 3, (ORDERS * HUGE,) * 2],
    ),
    Case(
        ANALYTICS,
        AnalyticsStore,
        Step(
            day="2026-11-27",
            previous_state="",
            state="PENDING",
            order=AnalyticsSnapshot(
                placed_day="2026-11-27",
                currency_code="USD",
                total=HUGE,
                accepted=False,
                rejected=False,
                canceled=False,
                leaves=1,
                filled=0,
                shipped=0,
                delivered=0,
            ),
        ),
        [(PLACINGS, to_placing)],
        [(ORDERS, ORDERS * HUGE)],
    ),
]
cases = pytest.mark.parametrize("case", CASES, ids=[case.consumer.name for case in CASES])


async def fold(database: Database, case: Case, orders: Sequence[int], version: int, order: object) -> None:
    def work(session: Any) -> None:  # noqa: ANN401 - any consumer's
        ids = [f"o-{number}" for number in orders]
        session.versions(ids)
        for order_id in ids:
            session.apply(order_id, version, order)

    await case.store(database).transact(work)


async def values(database: Database, case: Case) -> list[tuple[int, ...]]:
    def work(rows: sa.Connection) -> list[tuple[int, ...]]:
        return [tuple(to(row)[1]) for table, to in case.read for row in rows.execute(sa.select(table))]

    return await database.read(work)


@databases
@cases
async def test_they_are_exact_however_they_come_about(case: Case, database_url: str) -> None:
    numbers = list(range(ORDERS))
    random.Random(1).shuffle(numbers)  # noqa: S311 - any sequence
    async with open_consumer(case.consumer, database_url) as database:
        for first in range(0, ORDERS, 7):
            await fold(database, case, numbers[first : first + 7], 1, case.order)
        assert await values(database, case) == list(case.values)


@databases
@cases
async def test_what_was_added_up_under_the_first_revision_goes_on(
    case: Case, database_url: str, tmp_path: Path
) -> None:
    await begin_under_the_first_revision(case, database_url, tmp_path, 7 * HUGE)
    async with open_consumer(case.consumer, database_url) as database:
        found = await values(database, case)
        assert found == [(7 * HUGE,) * len(each) for each in case.values]


@cases
async def test_a_sum_of_which_sqlite_has_lost_digits_is_refused(case: Case, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/spoilt.db"
    await begin_under_the_first_revision(case, url, tmp_path, 10 * HUGE)
    for _ in range(2):
        with pytest.raises(
            StartupError, match=r"has lost digits of .* beyond 64 bits: move it away, or name a new file"
        ):
            async with open_consumer(case.consumer, url):
                pass


async def begin_under_the_first_revision(case: Case, url: str, folder: Path, amount: int) -> None:
    older = folder / case.consumer.name / "migrations"
    older.mkdir(parents=True)
    shutil.copy(next(case.consumer.migrations.glob("0001_*.py")), older)
    async with open_consumer(replace(case.consumer, migrations=older), url) as database:
        for table, _ in case.read:
            names = ", ".join(column.name for column in table.columns)
            row = ", ".join("'k'" if column.primary_key else str(amount) for column in table.columns)
            insert = text(f"INSERT INTO {table.name} ({names}) VALUES ({row})")  # noqa: S608 - of this test's own
            await database.write(methodcaller("execute", insert))


def test_beyond_64_bits_the_last_number_is_told() -> None:
    assert [told(number) for number in (2**63 - 1, 2**63, 10**30)] == [2**63 - 1] * 3
    assert [told(number) for number in (-(2**63), -(2**63) - 1)] == [-(2**63)] * 2
    assert told(-5) == -5
    assert money("USD", 10**30).minor_units == 2**63 - 1
