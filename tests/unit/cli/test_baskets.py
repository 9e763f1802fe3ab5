from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.cli.demo.baskets import Basket, Line, read_baskets
from consumers.cli.demo.commands import commands, unit_price_nanos
from consumers.cli.demo.expected import expected
from consumers.cli.demo.figures import Skipped, Total
from infra.kernel.money import amount

Row = tuple[int, int, int, int, float, str]  # household, basket, product, quantity, sales value, time


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "transactions.parquet"


def write(file: Path, rows: list[Row]) -> None:
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE t (household_id BIGINT, basket_id BIGINT, product_id BIGINT, quantity BIGINT,"
            " sales_value DOUBLE, transaction_timestamp TIMESTAMP, store_id BIGINT DEFAULT 7)"
        )
        database.executemany(
            "INSERT INTO t (household_id, basket_id, product_id, quantity, sales_value, transaction_timestamp)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.execute(f"COPY t TO '{file}' (FORMAT parquet)")


def basket(number: int, *lines: Line) -> Basket:
    return Basket(number=number, basket_id="5", time_us=0, customer_id="c", store_id="s", lines=lines)


def test_baskets_come_by_time_then_by_id(file: Path) -> None:
    write(
        file,
        [
            (1, 30, 5, 1, 1.0, "2017-01-02"),
            (1, 20, 5, 1, 1.0, "2017-01-01"),
            (1, 10, 5, 1, 1.0, "2017-01-02"),
            (1, 40, 5, 1, 1.0, "2017-01-03"),
        ],
    )
    baskets = read_baskets(file, 3)
    assert [(each.number, each.basket_id) for each in baskets] == [(1, "20"), (2, "10"), (3, "30")]
    assert baskets[0].time_us == 1_483_228_800_000_000


def test_rows_of_quantity_0_are_left_out_and_counted(file: Path) -> None:
    write(
        file,
        [
            (1, 10, 5, 0, 0.25, "2017-01-01"),
            (1, 10, 6, 2, 3.1, "2017-01-01"),
            (1, 20, 5, 0, 0.5, "2017-01-02"),
        ],
    )
    figures, skipped = expected(file, 10)

    assert [each.lines for each in read_baskets(file, 10)] == [
        (Line(line_id="2", product_id="6", quantity=2, cents=310),),
        (),
    ]
    assert (figures.orders, figures.lines, figures.placed) == (1, 1, Total(2, 310))
    assert skipped == Skipped(rows=2, cents=75, baskets=1)


def test_both_sides_cancel_the_same_baskets(file: Path) -> None:
    write(file, [(number, 1000 - number, 5, 1, number / 100, "2017-01-01") for number in range(1, 121)])

    canceled = [each for each in read_baskets(file, 110) if each.is_canceled]
    figures, _ = expected(file, 110)

    assert len(canceled) == 2
    assert figures.states == {"DELIVERED": 108, "CANCELED": 2}
    assert figures.canceled == Total(2, sum(line.cents for each in canceled for line in each.lines))
    assert figures.events == 5 * 108 + 3 * 2
    assert not {each.customer_id for each in canceled} & {customer for customer, _ in figures.holdings}


def test_the_expected_figures_of_the_consumers_come_by_day_customer_and_stage(file: Path) -> None:
    evening, morning = "2017-01-01 23:59:59", "2017-01-02 00:00:00"
    rows = [(1, number, 5, 1, 0.5, evening if number < 3 else morning) for number in range(1, 50)]
    write(file, [*rows, (2, 50, 5, 4, 2.0, morning)])

    figures, _ = expected(file, 50)

    assert figures.exposures == {("1", "USD"): 49 * 50, ("2", "USD"): 0}
    assert figures.days == {("2017-01-01", "USD"): Total(2, 100), ("2017-01-02", "USD"): Total(48, 47 * 50 + 200)}
    assert figures.transitions["2017-01-01", "", "PENDING"] == 2
    assert figures.transitions["2017-01-02", "ACCEPTED", "CANCELED"] == 1
    assert figures.transitions["2017-01-02", "SHIPPED", "DELIVERED"] == 47
    assert sum(figures.transitions.values()) == figures.events
    assert list(figures.funnel.values()) == [50, 50, 49, 49, 49, 1, 0]


def test_what_was_free_is_ordered_and_costs_nothing(file: Path) -> None:
    write(file, [(1, 10, 5, 3, 0.0, "2017-01-01")])
    figures, _ = expected(file, 1)
    assert (figures.holdings, figures.cash) == ({("1", "5"): Total(3, 0)}, {})


@given(quantity=st.integers(1, 100_000), cents=st.integers(0, 10_000_000))
def test_the_unit_price_gives_the_sales_value_back_to_the_cent(quantity: int, cents: int) -> None:
    assert amount(quantity, unit_price_nanos(cents, quantity), "USD") == cents


def test_a_basket_is_placed_accepted_filled_shipped_and_delivered() -> None:
    line = Line(line_id="1", product_id="p", quantity=2, cents=300)
    ids = [command.request_id for command in commands(basket(49, line))]
    assert ids == [f"basket-5-{step}" for step in ("place", "accept", "fill", "ship", "deliver")]


def test_every_50th_basket_is_canceled_before_it_is_filled() -> None:
    line = Line(line_id="1", product_id="p", quantity=2, cents=300)
    ids = [command.request_id for command in commands(basket(50, line))]
    assert ids == [f"basket-5-{step}" for step in ("place", "accept", "cancel")]


def test_a_basket_always_gives_the_same_requests() -> None:
    line = Line(line_id="1", product_id="p", quantity=3, cents=100)
    assert list(commands(basket(1, line))) == list(commands(basket(1, line)))
