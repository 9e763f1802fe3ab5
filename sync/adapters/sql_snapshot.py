"""Chunks of a snapshot in SQL: one statement, over the index of the orders' ids."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, func, select

from infra.kernel.filter import All, Term, fields_of, matches
from infra.kernel.shard import shard_of
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
    return [row.body for row in rows if _belongs(row, wanted, elsewhere)], rows[-1].order_id if rows else ""


def split(term: Term, columns: Mapping[str, ColumnElement[Any]]) -> tuple[Term, Term]:
    """What of the filter the columns decide, and what is left; both must hold."""
    terms = term.terms if isinstance(term, All) else (term,)
    here = tuple(each for each in terms if fields_of(each) <= columns.keys())
    return All(here), All(tuple(each for each in terms if each not in here))


def _belongs(row: Row[str, bytes], wanted: Wanted, elsewhere: Term) -> bool:
    if len(wanted.shards) < wanted.shards_all and shard_of(row.order_id, wanted.shards_all) not in wanted.shards:
        return False
    return elsewhere == All(()) or matches(elsewhere, order_attributes(row.body))
