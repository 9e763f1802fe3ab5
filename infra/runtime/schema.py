"""The tables of a service, as its alembic revisions make them."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Text, inspect, text

TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that every database compares by code point, as Python does: pages and filters agree everywhere."""


def upgrade(connection: Connection, migrations: Path) -> None:
    """Brings the tables to the newest revision; the caller commits."""
    if _current(connection) == revisions(migrations)[-1]:
        return
    from alembic import command  # noqa: PLC0415 - a third of a second, which a restarted process saves
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrate"))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revisions(migrations: Path) -> list[str]:
    """Those that this program has, the newest last: `order/migrations/0002_relay.py` is `order_0002`."""
    return [f"{migrations.parent.name}_{file.name[:4]}" for file in sorted(migrations.glob("[0-9]*.py"))]


def _current(connection: Connection) -> str | None:
    """The revision of the tables that are there; none where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
