"""A session with PostgreSQL: what a URL says of it, what it is asked for, and what is seen to once it is there."""

from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.util import await_only

from infra.runtime.lifespan import StartupError
from infra.runtime.postgres.silence import end_without_a_word

_PORT_MAX: Final = 65_535
# Of the driver's options those that are text, as in a URL everything is.
_OPTIONS: Final = frozenset(
    {*("host", "port", "user", "password", "database", "passfile"), *("ssl", "krbsrvname", "target_session_attrs")}
)
SESSION: Final = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    # A process that is frozen in the middle of a transaction holds its locks for no longer than this.
    "idle_in_transaction_session_timeout": "2s",
    "jit": "off",  # short statements only: compiling costs more than it saves
    "standard_conforming_strings": "on",  # where a server has it off, a backslash in our SQL is an escape
}
_WAIT_FOR_DISK: Final = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


def connect_arguments(url: URL) -> dict[str, Any]:
    """What the URL says, as the driver is told it. By itself the driver reads some URLs otherwise.

    Raises:
        StartupError: It says what the driver cannot be told.
    """
    told = url.render_as_string(hide_password=True)
    unknown = sorted(url.query.keys() - _OPTIONS)
    if unknown:
        raise StartupError(f"the driver takes no {', '.join(unknown)}, as in {told}: leave it out (ssl=require is TLS)")
    reader: Any = dialect  # SQLAlchemy has no types for it
    try:
        arguments: dict[str, Any] = reader().create_connect_args(url)[1]
    except ArgumentError as error:
        raise StartupError(f"not a database URL that can be used: {told} ({error})") from error
    ports = arguments.get("port", [])
    for port in ports if isinstance(ports, list) else [ports]:
        if port > _PORT_MAX:
            raise StartupError(f"not a database URL that can be used: {told} (there is no port {port})")
    return arguments


def make_ready(driver: Any) -> None:  # noqa: ANN401 - as below
    """A new session waits for the disk: the database may have been set otherwise since the service was started on it.

    Whoever has it wait for standbys, too, or in another way, is left that.
    """
    end_without_a_word(driver)
    try:
        await_only(driver.execute(_WAIT_FOR_DISK))
    except BaseException:
        driver.terminate()
        raise
