"""The portfolio in SQL: holdings, balances, and what each order contributes to them."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from consumers.portfolio.model import (
    NOTHING,
    Balance,
    BalanceKey,
    Change,
    Contribution,
    Entry,
    Holding,
    HoldingKey,
    Snapshot,
    contribution,
)
from consumers.store import Store
from consumers.tables import add_rows, find_rows, put_rows
from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.sql_numbers import WholeNumber

_METADATA: Final = sa.MetaData()
HOLDINGS: Final = sa.Table(
    "holdings",
    _METADATA,
    sa.Column("customer_id", TEXT, primary_key=True),
    sa.Column("product_id", TEXT, primary_key=True),
    sa.Column("currency_code", TEXT, primary_key=True),
    sa.Column("quantity", WholeNumber, nullable=False),
    sa.Column("open_quantity", WholeNumber, nullable=False),
    sa.Column("cost", WholeNumber, nullable=False),
)
BALANCES: Final = sa.Table(
    "balances",
    _METADATA,
    sa.Column("customer_id", TEXT, primary_key=True),
    sa.Column("currency_code", TEXT, primary_key=True),
    sa.Column("spent", WholeNumber, nullable=False),
    sa.Column("committed", WholeNumber, nullable=False),
)
CONTRIBUTIONS: Final = sa.Table(
    "contributions",
    _METADATA,
    sa.Column("order_id", TEXT, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("content", TEXT, nullable=False),
)


class PortfolioSession:
    """One transaction's work: contributions are read at once, replaced in memory, and written at once.

    Args:
        connection: In a transaction of its own; `flush` before it is committed.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._known: dict[str, Contribution] = {}
        self._written: dict[str, tuple[int, Contribution]] = {}
        self._change = Change()

    def versions(self, order_ids: Collection[str]) -> Mapping[str, int]:
        """Reads the orders' contributions in, and tells their versions."""
        versions = {}
        for row in find_rows(self.connection, CONTRIBUTIONS, order_ids):
            versions[row.order_id] = row.version
            self._known[row.order_id] = _decoded(row.content)
        return versions

    def apply(self, order_id: str, version: int, order: Snapshot) -> None:
        """The order now stands like this. Its earlier contribution must have been read in by `versions`."""
        after = contribution(order)
        self._change.replace(self._known.get(order_id, NOTHING), after)
        self._known[order_id] = after
        self._written[order_id] = (version, after)

    def flush(self) -> None:
        """Writes what was applied."""
        add_rows(self.connection, HOLDINGS, [(*key, *value) for key, value in self._change.holdings.items()])
        add_rows(self.connection, BALANCES, [(*key, *value) for key, value in self._change.balances.items()])
        contributions = [(order_id, version, _encoded(after)) for order_id, (version, after) in self._written.items()]
        put_rows(self.connection, CONTRIBUTIONS, contributions)


class PortfolioStore(Store[PortfolioSession]):
    """The portfolio's database as a projection sees it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, PortfolioSession)


def to_holding(row: Row[Any]) -> tuple[HoldingKey, Holding]:
    """A row of `HOLDINGS`."""
    return HoldingKey._make(row[:3]), Holding._make(row[3:])


def to_balance(row: Row[Any]) -> tuple[BalanceKey, Balance]:
    """A row of `BALANCES`."""
    return BalanceKey._make(row[:2]), Balance._make(row[2:])


def read_entries(connection: Connection) -> Iterator[Entry]:
    """Everything, in no particular order, without holding it all in memory."""
    yield from map(to_holding, connection.execute(sa.select(HOLDINGS)))
    yield from map(to_balance, connection.execute(sa.select(BALANCES)))


def _encoded(value: Contribution) -> str:
    return json.dumps(
        [
            [[*key, *held] for key, held in value.holdings.items()],
            [[*key, *money] for key, money in value.balances.items()],
        ],
        separators=(",", ":"),
    )


def _decoded(text: str) -> Contribution:
    holdings, balances = json.loads(text)
    return Contribution(
        holdings={HoldingKey(*row[:3]): Holding(*row[3:]) for row in holdings},
        balances={BalanceKey(*row[:2]): Balance(*row[2:]) for row in balances},
    )
