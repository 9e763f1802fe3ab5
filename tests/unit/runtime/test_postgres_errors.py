"""Which errors of PostgreSQL's driver are waited for, and what its programs say."""

import pytest
from asyncpg import exceptions
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import InternalError

from infra.runtime.postgres.errors import is_passing
from infra.runtime.postgres.server import reason


def test_a_driver_that_is_out_of_step_is_as_good_as_a_connection_that_is_lost() -> None:
    driven = exceptions.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    adapted = dialect.import_dbapi().InternalClientError  # type: ignore[no-untyped-call]
    with pytest.raises(adapted) as told:
        raise adapted("as above", driven) from driven
    assert is_passing(InternalError("SELECT 1", {}, told.value))
    assert is_passing(driven)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            'initdb: error: could not write "x": No space left on device\ninitdb: removing contents of "d"\n',
            'initdb: error: could not write "x": No space left on device',
        ),
        ("creating\nit went wrong\n", "it went wrong"),
        ("", "it does not say why"),
    ],
)
def test_of_what_a_program_says_the_reason_is_told(said: str, expected: str) -> None:
    assert reason(said) == expected
