"""The digest of a query's rows, in memory that does not grow with their number."""

from typing import Any, Final

from sqlalchemy import Connection, Select

from infra.kernel.digest import Digest

_FETCHED_ROWS: Final = 1_000  # some milliseconds of hashing, in which a server's event loop does nothing else


def digest_of(connection: Connection, query: Select[Any]) -> Digest:
    """The digest whose entries are the rows, of the snapshot that the connection's transaction sees."""
    digest = Digest()
    for row in connection.execute(query, execution_options={"yield_per": _FETCHED_ROWS}):
        digest.add(*row)
    return digest
