"""Chunks of a snapshot in SQL: one statement, over the index of the orders' ids."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select

from infra.kernel.digest import Digest
from infra.kernel.filter import All, Term, fields_of
from infra.kernel.shard import shard_of
from infra.runtime.sql_digest import digest_of
from infra.runtime.sql_filter import to_sql
from sync.adapters.wire import order_attributes
from sync.domain.snapshot import Wanted

COLUMNS: Final = ("order_id", "customer_id", "store_id", "currency_code")
"""Of what a filter of events may speak of, what has a column. The rest is looked up in the order itself."""


def read_orders(connection: Connection, orders: Table, wanted: Wanted) -> tuple[list[bytes], str]:
    """The orders that match, encoded, and the id of the last that was looked at; empty when none was left."""
    columns = {name: orders.c[name] for name in COLUMNS}
    here, elsewhere = split(wanted.term, columns)
    ids = (
        select(orders.c.order_id, orders.c.body)
        .where(orders.c.order_id > wanted.after, to_sql(here, columns))
        .order_by(orders.c.order_id)
        .limit(wanted.limits.events_max)
        .subquery()
    )
    size = func.length(ids.c.body)
    before = (func.sum(size).over(order_by=ids.c.order_id) - size).label("before")
    sized = select(ids.c.order_id, ids.c.body, before).subquery()
    rows = connection.execute(
        select(sized.c.order_id, sized.c.body)
        .where(sized.c.before < wanted.limits.bytes_max)
        .order_by(sized.c.order_id)
    ).all()
    belongs = _belonging(wanted.shards, wanted.shards_all, elsewhere)
    return [row.body for row in rows if belongs(row)], rows[-1].order_id if rows else ""


def prove_orders(
    connection: Connection, orders: Table, term: Term, shards: Collection[int], *, shards_all: int
) -> Digest:
    """The digest over the orders of these shards that match. Only a filter that has to is held against the body."""
    columns = {name: orders.c[name] for name in COLUMNS}
    here, elsewhere = split(term, columns)
    body = [orders.c.body] if elsewhere != All(()) else []
    query = select(orders.c.order_id, orders.c.version, *body).where(to_sql(here, columns))
    return digest_of(connection, query, counts=_belonging(shards, shards_all, elsewhere))


def split(term: Term, columns: Mapping[str, ColumnElement[Any]]) -> tuple[Term, Term]:
    """What of the filter the columns decide, and what is left; both must hold."""
    terms = term.terms if isinstance(term, All) else (term,)
    here = tuple(each for each in terms if fields_of(each) <= columns.keys())
    return All(here), All(tuple(each for each in terms if each not in here))


def _belonging(shards: Collection[int], shards_all: int, elsewhere: Term) -> Callable[[Row[*tuple[Any, ...]]], bool]:
    def belongs(row: Row[*tuple[Any, ...]]) -> bool:
        if len(shards) < shards_all and shard_of(row.order_id, shards_all) not in shards:
            return False
        return elsewhere == All(()) or elsewhere.holds(order_attributes(row.body))

    return belongs
