"""Risk in SQL: exposures, and what each order adds to them."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from consumers.risk.model import Contribution, Exposure, ExposureKey, Snapshot, contribution
from consumers.store import Store
from consumers.sums import Sums
from consumers.tables import add_rows, find_rows, put_rows
from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.sql_numbers import WholeNumber

_METADATA: Final = sa.MetaData()
EXPOSURES: Final = sa.Table(
    "exposures",
    _METADATA,
    sa.Column("customer_id", TEXT, primary_key=True),
    sa.Column("currency_code", TEXT, primary_key=True),
    sa.Column("open_notional", WholeNumber, nullable=False),
    sa.Column("filled_amount", WholeNumber, nullable=False),
)
ORDERS: Final = sa.Table(
    "orders",
    _METADATA,
    sa.Column("order_id", TEXT, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("customer_id", TEXT, nullable=False),
    sa.Column("currency_code", TEXT, nullable=False),
    sa.Column("open_notional", sa.BigInteger, nullable=False),
    sa.Column("filled_amount", sa.BigInteger, nullable=False),
)


class RiskSession:
    """One transaction's work: contributions are read at once, replaced in memory, and written at once.

    Args:
        connection: In a transaction of its own; `flush` before it is committed.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._known: dict[str, Contribution] = {}
        self._versions: dict[str, int] = {}
        self._change: Sums[ExposureKey, Exposure] = Sums(Exposure)

    def versions(self, order_ids: Collection[str]) -> Mapping[str, int]:
        """Reads the orders' contributions in, and tells their versions."""
        versions = {}
        for row in find_rows(self.connection, ORDERS, order_ids):
            versions[row.order_id] = row.version
            key = ExposureKey(row.customer_id, row.currency_code)
            self._known[row.order_id] = {key: Exposure(row.open_notional, row.filled_amount)}
        return versions

    def apply(self, order_id: str, version: int, order: Snapshot) -> None:
        """The order now stands like this. Its earlier contribution must have been read in by `versions`."""
        after = contribution(order)
        self._change.replace(self._known.get(order_id, {}), after)
        self._known[order_id] = after
        self._versions[order_id] = version

    def flush(self) -> None:
        """Writes what was applied."""
        add_rows(self.connection, EXPOSURES, [(*key, *exposure) for key, exposure in self._change.items()])
        put_rows(
            self.connection,
            ORDERS,
            [
                (order_id, version, *key, *exposure)
                for order_id, version in self._versions.items()
                for key, exposure in self._known[order_id].items()
            ],
        )


class RiskStore(Store[RiskSession]):
    """Risk's database as a projection sees it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, RiskSession)


def to_exposure(row: Row[Any]) -> tuple[ExposureKey, Exposure]:
    """A row of `EXPOSURES`."""
    return ExposureKey._make(row[:2]), Exposure._make(row[2:])
