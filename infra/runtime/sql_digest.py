"""The digest of a query's rows, in memory that does not grow with their number."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Row, Select

from infra.kernel.digest import Digest

_FETCHED_ROWS: Final = 1_000  # some milliseconds of hashing, in which a server's event loop does nothing else


def digest_of(
    connection: Connection, query: Select[Any], *, counts: Callable[[Row[*tuple[Any, ...]]], bool] = lambda _row: True
) -> Digest:
    """The digest over the first two columns of the rows that count, as the connection's transaction sees them."""
    digest = Digest()
    for row in connection.execute(query, execution_options={"yield_per": _FETCHED_ROWS}):
        if counts(row):
            digest.add(row[0], row[1])
    return digest
