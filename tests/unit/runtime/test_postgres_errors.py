"""Which errors of PostgreSQL's driver are waited for."""

import pytest
from asyncpg import exceptions
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import InternalError

from infra.runtime.postgres.errors import is_passing


def test_a_driver_that_is_out_of_step_is_as_good_as_a_connection_that_is_lost() -> None:
    driven = exceptions.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    adapted = dialect.import_dbapi().InternalClientError  # type: ignore[no-untyped-call]
    with pytest.raises(adapted) as told:
        raise adapted("as above", driven) from driven
    assert is_passing(InternalError("SELECT 1", {}, told.value))
    assert is_passing(driven)
