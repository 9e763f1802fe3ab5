"""The expected side: SQL over the file. It shares no code with the replay, nor with the services.

What the replay does is said here a second time, on purpose: the first baskets by time, the 50th, 100th … canceled, rows
of quantity 0 left out, three events for a canceled order and five for a delivered one, all of them on the day of the
basket.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumers.cli.demo.figures import Figures, Skipped, Total

if TYPE_CHECKING:
    import duckdb

_SLICE: Final = """
CREATE TEMP TABLE sold AS
WITH baskets AS (
    SELECT basket_id, min(transaction_timestamp)::DATE::VARCHAR AS day,
           row_number() OVER (ORDER BY min(transaction_timestamp), basket_id) AS place
    FROM read_parquet($file) GROUP BY basket_id
)
SELECT basket_id, day, place % 50 = 0 AS canceled, household_id::VARCHAR AS customer, product_id::VARCHAR AS product,
       quantity, (sales_value::DECIMAL(18, 2) * 100)::BIGINT AS cents
FROM read_parquet($file) JOIN baskets USING (basket_id)
WHERE place <= $orders
"""
_TOTALS: Final = """
SELECT count(DISTINCT basket_id), count(*), coalesce(sum(quantity), 0), coalesce(sum(cents), 0),
       coalesce(sum(quantity) FILTER (canceled), 0), coalesce(sum(cents) FILTER (canceled), 0)
FROM sold WHERE quantity > 0
"""
_ORDERS: Final = """
SELECT count(DISTINCT basket_id) FILTER (NOT canceled), count(DISTINCT basket_id) FILTER (canceled)
FROM sold WHERE quantity > 0
"""
_CUSTOMERS: Final = "SELECT customer, sum(quantity), sum(cents) FROM sold WHERE quantity > 0 GROUP BY customer"
_PRODUCTS: Final = "SELECT product, sum(quantity), sum(cents) FROM sold WHERE quantity > 0 GROUP BY product"
_HOLDINGS: Final = """
SELECT customer, product, sum(quantity), sum(cents) FROM sold WHERE quantity > 0 AND NOT canceled GROUP BY ALL
"""
_CASH: Final = """
SELECT customer, sum(cents) FROM sold WHERE quantity > 0 AND NOT canceled GROUP BY customer HAVING sum(cents) > 0
"""
_EXPOSURES: Final = """
SELECT customer, 'USD', coalesce(sum(cents) FILTER (NOT canceled), 0) FROM sold WHERE quantity > 0 GROUP BY customer
"""
_DAYS: Final = """
SELECT day, 'USD', count(DISTINCT basket_id), sum(cents) FROM sold WHERE quantity > 0 GROUP BY day
"""
_TRANSITIONS: Final = """
WITH step (canceled, before, after) AS (
    VALUES (true, '', 'PENDING'), (true, 'PENDING', 'ACCEPTED'), (true, 'ACCEPTED', 'CANCELED'),
           (false, '', 'PENDING'), (false, 'PENDING', 'ACCEPTED'), (false, 'ACCEPTED', 'FILLED'),
           (false, 'FILLED', 'SHIPPED'), (false, 'SHIPPED', 'DELIVERED')
)
SELECT day, before, after, count(DISTINCT basket_id) FROM sold JOIN step USING (canceled)
WHERE quantity > 0 GROUP BY ALL
"""
_SKIPPED: Final = """
SELECT count(*) FILTER (quantity = 0), coalesce(sum(cents) FILTER (quantity = 0), 0),
       count(DISTINCT basket_id) - count(DISTINCT basket_id) FILTER (quantity > 0)
FROM sold
"""


def expected(file: Path, orders: int) -> tuple[Figures, Skipped]:
    """The totals of the first `orders` baskets of the file, and what of them cannot be ordered."""
    import duckdb  # noqa: PLC0415 - an optional dependency, looked for before this is called

    with duckdb.connect() as database:
        database.execute(_SLICE, {"file": str(file), "orders": orders})
        [(placed_orders, lines, units, cents, canceled_units, canceled_cents)] = _rows(database, _TOTALS)
        [(delivered, canceled)] = _rows(database, _ORDERS)
        figures = Figures(
            orders=placed_orders,
            lines=lines,
            placed=Total(units, cents),
            canceled=Total(canceled_units, canceled_cents),
            states={state: count for state, count in (("DELIVERED", delivered), ("CANCELED", canceled)) if count},
            customers={customer: Total(*total) for customer, *total in _rows(database, _CUSTOMERS)},
            products={product: Total(*total) for product, *total in _rows(database, _PRODUCTS)},
            holdings={(customer, product): Total(*total) for customer, product, *total in _rows(database, _HOLDINGS)},
            cash=dict(_rows(database, _CASH)),
            exposures={(customer, currency): cents for customer, currency, cents in _rows(database, _EXPOSURES)},
            days={(day, currency): Total(*total) for day, currency, *total in _rows(database, _DAYS)},
            transitions={(day, before, after): n for day, before, after, n in _rows(database, _TRANSITIONS)},
            funnel=dict.fromkeys(("placed", "accepted"), placed_orders)
            | dict.fromkeys(("filled", "shipped", "delivered"), delivered)
            | {"canceled": canceled, "rejected": 0},
            events=5 * delivered + 3 * canceled,
        )
        [(rows, skipped_cents, baskets)] = _rows(database, _SKIPPED)
    return figures, Skipped(rows=rows, cents=skipped_cents, baskets=baskets)


def _rows(database: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return database.execute(query).fetchall()
