"""What people may see of a database's URL."""

import pytest

from infra.runtime.lifespan import StartupError
from infra.runtime.sql import open_database, shown
from order.main import MIGRATIONS


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:s3cret@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:s3:cr@t@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u@host:5432/db", "postgresql://u@host:5432/db"),
        ("sqlite:////var/lib/order.db", "sqlite:////var/lib/order.db"),
        ("not a URL at all", "not a URL at all"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, expected: str) -> None:
    assert expected == shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@host/db",
        "postgresql://u:s3cret@host:port/db",
        "postgresql://u:s3cret@host:99999/db",
        "postgresql://u:s3cret@host/db?port=any",
        "postgresql://u:s3cret@host/db?sslmode=require",
        "postgresql://u:s3cret@host/db?statement_cache_size=0",
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StartupError, match=r":\*\*\*@host") as refused:
        async with open_database(url, service="order", migrations=MIGRATIONS):
            raise AssertionError(url)
    assert "s3cret" not in str(refused.value)
