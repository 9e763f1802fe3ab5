"""The fold, by examples and by properties."""

import random
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from consumers.portfolio.model import (
    NOTHING,
    Balance,
    BalanceKey,
    Change,
    Contribution,
    Entry,
    Holding,
    HoldingKey,
    Line,
    Snapshot,
    contribution,
)
from consumers.sums import digest

PEN = HoldingKey("ann", "pen", "USD")
CASH = BalanceKey("ann", "USD")


def pens(*, filled: int = 0, returned: int = 0, leaves: int = 0, price_nanos: int = 1_500_000_000) -> Line:
    return Line(
        product_id="pen",
        filled=filled,
        returned=returned,
        leaves=leaves,
        price_nanos=price_nanos,
        filled_minor_units=filled * 150,
    )


def order(*lines: Line, currency_code: str = "USD") -> Snapshot:
    return Snapshot(customer_id="ann", currency_code=currency_code, lines=lines)


def entries(change: Change) -> Iterator[Entry]:
    yield from change.holdings.items()
    yield from change.balances.items()


def folded(histories: Sequence[Sequence[Snapshot]], turns: Sequence[int]) -> Change:
    """Every order's versions in their sequence, the orders interleaved as `turns` says."""
    total = Change()
    at = [0] * len(histories)
    current: list[Contribution] = [NOTHING] * len(histories)
    for number in turns:
        after = contribution(histories[number][at[number]])
        total.replace(current[number], after)
        current[number] = after
        at[number] += 1
    return total


def test_open_units_are_committed_and_filled_ones_are_held_and_spent() -> None:
    result = contribution(order(pens(filled=2, leaves=3)))
    assert {PEN: Holding(2, 3, 300)} == result.holdings
    assert {CASH: Balance(300, 450)} == result.balances


def test_returned_units_are_no_longer_held_and_stay_spent() -> None:
    result = contribution(order(pens(filled=2, returned=1)))
    assert {PEN: Holding(1, 0, 300)} == result.holdings
    assert {CASH: Balance(300, 0)} == result.balances


def test_lines_of_one_product_add_up_and_each_is_rounded_by_itself() -> None:
    half_a_cent = 5_000_000
    result = contribution(order(pens(leaves=3, price_nanos=half_a_cent), pens(leaves=3, price_nanos=half_a_cent)))
    assert {PEN: Holding(0, 6, 0)} == result.holdings
    assert {CASH: Balance(0, 4)} == result.balances


def test_what_is_committed_is_counted_in_the_currencys_own_minor_units() -> None:
    result = contribution(order(pens(leaves=2), currency_code="JPY"))
    assert {BalanceKey("ann", "JPY"): Balance(0, 3)} == result.balances


def test_a_new_version_replaces_what_the_one_before_contributed() -> None:
    placed, filled = contribution(order(pens(leaves=5))), contribution(order(pens(filled=5)))
    change = Change()
    change.replace(placed, filled)
    assert {PEN: Holding(5, -5, 750)} == change.holdings
    assert {CASH: Balance(750, -750)} == change.balances


def test_what_was_touched_keeps_its_row_when_it_cancels_out() -> None:
    placed, canceled = contribution(order(pens(leaves=5))), contribution(order(pens()))
    change = Change()
    change.replace(NOTHING, placed)
    change.replace(placed, canceled)
    assert {PEN: Holding(0, 0, 0)} == change.holdings
    assert {CASH: Balance(0, 0)} == change.balances


def test_a_version_that_changes_nothing_here_touches_nothing() -> None:
    shipped = contribution(order(pens(filled=5)))
    change = Change()
    change.replace(shipped, shipped)
    assert not change.holdings
    assert not change.balances


COUNTS = st.integers(min_value=0, max_value=50)
LINES = st.builds(
    Line,
    product_id=st.sampled_from(["pen", "ink", "pad"]),
    filled=COUNTS,
    returned=COUNTS,
    leaves=COUNTS,
    price_nanos=st.integers(min_value=0, max_value=10**12),
    filled_minor_units=st.integers(min_value=0, max_value=10**9),
)
SNAPSHOTS = st.builds(
    Snapshot,
    customer_id=st.sampled_from(["ann", "bob"]),
    currency_code=st.sampled_from(["USD", "JPY"]),
    lines=st.lists(LINES, max_size=4),
)
HISTORIES = st.lists(st.lists(SNAPSHOTS, min_size=1, max_size=4), min_size=1, max_size=6)


@given(HISTORIES, st.randoms(use_true_random=False))
def test_the_portfolio_does_not_depend_on_how_orders_interleave(
    histories: list[list[Snapshot]], chance: random.Random
) -> None:
    straight = [number for number, history in enumerate(histories) for _ in history]
    shuffled = chance.sample(straight, len(straight))
    assert digest(entries(folded(histories, straight))) == digest(entries(folded(histories, shuffled)))


@given(HISTORIES)
def test_the_portfolio_is_what_the_orders_latest_versions_add_up_to(histories: list[list[Snapshot]]) -> None:
    straight = [number for number, history in enumerate(histories) for _ in history]
    latest = folded([history[-1:] for history in histories], range(len(histories)))
    held = {key: value for key, value in folded(histories, straight).holdings.items() if any(value)}
    assert {key: value for key, value in latest.holdings.items() if any(value)} == held


def test_the_digest_notices_a_cent_and_a_row_that_is_missing() -> None:
    rows: list[Entry] = [(PEN, Holding(1, 2, 3)), (CASH, Balance(4, 5))]
    whole = digest(iter(rows))
    assert digest(iter(rows[::-1])) == whole
    assert digest(iter(rows[:1])) != whole
    assert digest(iter([rows[0], (CASH, Balance(4, 6))])) != whole
