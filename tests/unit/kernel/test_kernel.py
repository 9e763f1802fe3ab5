from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.kernel.digest import Digest
from infra.kernel.filter import EVERYTHING, Attribute, Field, FilterError, filter_hash, parse
from infra.kernel.money import amount, is_currency
from infra.kernel.position import (
    LogEpochChangedError,
    Position,
    PositionAheadError,
    PositionExpiredError,
    PositionMalformedError,
    check_log,
    check_start,
)
from infra.kernel.shard import murmur2, shard_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # Source: the expectations of Apache Kafka's own test of its murmur2.
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_agrees_with_javas(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed & 0xFFFFFFFF


@given(st.text())
def test_every_order_has_a_shard(order_id: str) -> None:
    assert 0 <= shard_of(order_id, 12) < 12


@pytest.mark.parametrize(
    ("quantity", "price_nanos", "currency", "minor_units"),
    [
        (3, 1_500_000_000, "USD", 450),
        (1, 5_000_000, "USD", 0),  # half a cent, to the even neighbour below
        (3, 5_000_000, "USD", 2),  # one and a half, to the even neighbour above
        (1, 15_000_000, "USD", 2),
        (1, 25_000_000, "USD", 2),
        (2, 1_500_000_000, "JPY", 3),
        (1, 1_234_500_000, "BHD", 1234),
        (1, 1_235_500_000, "BHD", 1236),
        (1, 123_450_000, "CLF", 1234),
    ],
)
def test_amounts_round_half_to_even_in_the_currencys_minor_units(
    quantity: int, price_nanos: int, currency: str, minor_units: int
) -> None:
    assert amount(quantity, price_nanos, currency) == minor_units


def test_only_iso_codes_are_currencies() -> None:
    assert [is_currency(code) for code in ("USD", "JPY", "usd", "XXX", "")] == [True, True, False, False, False]


@given(st.lists(st.tuples(st.text(), st.integers())), st.randoms())
def test_a_digest_does_not_depend_on_the_order_of_its_entries(entries: list[tuple[str, int]], random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Digest(), Digest()
    for entry in entries:
        one.add(*entry)
    for entry in shuffled:
        other.add(*entry)
    assert (one.count, one.hash) == (other.count, other.hash)


def test_a_digest_notices_an_entry_that_is_there_twice() -> None:
    once, thrice = Digest(), Digest()
    once.add("a", 1)
    for _ in range(3):
        thrice.add("a", 1)
    assert once.hash != thrice.hash


FIELDS = {
    "customer_id": Field(),
    "state": Field(values=("FILLED", "SHIPPED")),
    "product_id": Field(many=True),
    "place_time": Field(time=True),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('customer_id = "c-1"', True),
        ("customer_id=c-1", True),
        ("customer_id != c-1", False),
        ("customer_id > c-0 AND customer_id <= c-1", True),
        ("state = FILLED", False),
        ("NOT state = FILLED", True),
        ("-state = FILLED", True),
        ("state = FILLED OR state = SHIPPED", True),
        ("product_id:p-2", True),
        ("product_id = p-9", False),
        ("product_id != p-9", True),
        ("product_id:*", True),
        ("state = FILLED AND customer_id = c-1 OR state = SHIPPED", False),  # OR binds tighter
        ("(state = FILLED AND customer_id = c-1) OR state = SHIPPED", True),
        ("customer_id = c-1 state = SHIPPED", True),  # following each other means AND
        ("customer_id = 'c-1'", True),
        ("customer_id != 'AND'", True),
        (r'customer_id = "c\-1"', True),
        ('place_time = "1970-01-01T00:00:01.5Z"', True),
        ('place_time > "1970-01-01T01:00:01.5+01:00"', False),
        ('place_time >= "1969-12-31T23:59:59Z"', True),
    ],
)
def test_filters_select_what_they_say(text: str, expected: bool) -> None:  # noqa: FBT001 - a parameter of the table
    order: dict[str, Attribute] = {
        "customer_id": "c-1",
        "state": "SHIPPED",
        "product_id": ("p-1", "p-2"),
        "place_time": 1_500_000,
    }
    assert parse(text, FIELDS).holds(order) is expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("color = red", "unknown field 'color'; known: customer_id, place_time, product_id, state"),
        ("state = OPEN", "state is never 'OPEN'"),
        ('place_time > "yesterday"', "a time such as \"2026-01-31T12:00:00Z\", not 'yesterday'"),
        ('place_time > "2026-01-31T12:00:00"', "a time such as"),
        ("place_time:*", "a time such as"),
        ("state", "ends too early"),
        ("customer_id = AND state = FILLED", "expected a value after customer_id =, got AND: in quotes, if it is one"),
        ("customer_id = )", "expected a value"),
        ("NOT customer_id = (", "expected a value"),
        ("customer_id = = c-1", "expected a value"),
        ("state FILLED", "expected one of"),
        ("(state = FILLED", "ends too early"),
        ("state = FILLED)", "unexpected ')'"),
        ('customer_id = "open', "cannot read"),
        ("(" * 30 + "state = FILLED" + ")" * 30, "nested more than"),
        (" AND ".join(["state = FILLED"] * 101), "more than 100"),
    ],
)
def test_a_bad_filter_is_explained(text: str, says: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse(text, FIELDS)
    assert says in str(refused.value)


@given(st.text())
def test_any_text_is_a_filter_or_is_refused(text: str) -> None:
    with suppress(FilterError):
        assert isinstance(filter_hash(parse(text, FIELDS)), bytes)


def test_filters_that_differ_have_different_hashes_and_none_has_none() -> None:
    assert filter_hash(EVERYTHING) == b""
    assert filter_hash(parse("state=FILLED", FIELDS)) == filter_hash(parse('state = "FILLED"', FIELDS))
    assert filter_hash(parse("state=FILLED", FIELDS)) != filter_hash(parse("state=SHIPPED", FIELDS))


def at(*next_seq: int) -> Position:
    return Position(log_epoch="e", next_seq=next_seq)


def test_positions_merge_to_what_either_has_passed() -> None:
    assert at(1, 5).merged(at(3, 0)) == at(3, 5)


def test_a_position_covers_what_it_has_passed_and_what_the_other_says_nothing_about() -> None:
    assert at(3, 5).covers(at(3, 0))
    assert not at(3, 5).covers(at(4, 0))


def test_a_start_is_checked_for_the_shards_that_are_read() -> None:
    check_start(at(0, 5), (1, 1), (9, 5), [1])
    for start, error in [
        (at(0, 1), PositionMalformedError),
        (at(2, 1), PositionExpiredError),
        (at(10, 1), PositionAheadError),
    ]:
        with pytest.raises(error):
            check_start(start, (3, 1), (9, 5), [0])


def test_a_position_of_another_log_is_refused() -> None:
    with pytest.raises(LogEpochChangedError):
        check_log(at(1), "f", 1)
    with pytest.raises(PositionMalformedError):
        check_log(at(1, 1), "e", 1)
    with pytest.raises(PositionMalformedError):
        check_log(at(-1), "e", 1)
