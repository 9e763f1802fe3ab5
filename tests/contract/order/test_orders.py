"""What every store of orders promises to those who read them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stateset.order.v1 import order_event_pb2

from infra.kernel.digest import Digest
from infra.kernel.filter import EVERYTHING, Field, Term, parse
from order.adapters.wire_order import order_from_wire
from order.application.ports import Log
from order.application.read_ports import OrderKey, Orders, StoredOrder
from order.application.writer import Writer
from order.domain.commands import AcceptOrder
from tests.harness.orders import place, submission

FIELDS = {
    "order_id": Field(),
    "customer_id": Field(),
    "store_id": Field(),
    "currency_code": Field(),
    "state": Field(values=("PENDING", "ACCEPTED", "CANCELED")),
    "place_time": Field(time=True),
}
SECOND_US = 1_000_000
TEXTS = ("", "a", "A", "ä", "z", "c-1", "\uffff", "\U0001f600", "*", "%", 'quo"te', "back\\slash", "it's")
TIMES = ("1970-01-01T00:00:00Z", "1970-01-01T00:00:02Z", "1970-01-01T01:00:03.000001+01:00", "1969-12-31T23:59:59Z")


async def place_all(writer: Writer, count: int) -> None:
    """Orders o-0, o-1, … of some customers and stores, two of them placed each second; every third is accepted."""
    for number in range(count):
        command = place(1, order_id=f"o-{number}")._replace(
            customer_id=TEXTS[number % 5 + 1],
            store_id=TEXTS[number % len(TEXTS)],
            currency_code=("USD", "JPY")[number % 2],
        )
        personal = b"who" if number == 3 else b""
        await writer.submit(submission(command, personal=personal, occur_time_us=number // 2 * SECOND_US))
        if number % 3 == 0:
            await writer.submit(submission(AcceptOrder(order_id=f"o-{number}")))


async def listed(orders: Orders, term: Term = EVERYTHING, after: OrderKey | None = None, most: int = 100) -> list[str]:
    return [order.order_id for order in await orders.list_orders(term, after, most)]


async def test_the_digest_is_over_what_the_filter_lists(log: Log, orders: Orders, writer: Writer) -> None:
    await place_all(writer, 7)
    whole = (await log.digest(EVERYTHING))[0]
    for text in ("customer_id = z", "state = ACCEPTED AND NOT store_id:*", f'place_time < "{TIMES[1]}"', ""):
        term = parse(text, FIELDS)
        expected = Digest()
        for order in await orders.list_orders(term, None, 100):
            expected.add(order.order_id, order_from_wire(order.body).version)
        assert (whole, expected) == await log.digest(term)


async def test_orders_are_found_by_id_with_their_personal_data(orders: Orders, writer: Writer) -> None:
    await place_all(writer, 5)
    found = await orders.find_orders(["o-3", "o-4", "nobody", "U+\0"])
    assert found.keys() == {"o-3", "o-4"}
    assert [found[each].personal for each in ("o-3", "o-4")] == [b"who", b""]
    order = order_from_wire(found["o-3"].body)
    assert (order.order_id, order.version, found["o-3"].place_time_us) == ("o-3", 2, SECOND_US)
    assert await orders.find_orders([]) == {}


async def test_lists_are_newest_first_and_every_page_begins_behind_the_last_one(orders: Orders, writer: Writer) -> None:
    await place_all(writer, 7)
    assert await listed(orders) == ["o-6", "o-5", "o-4", "o-3", "o-2", "o-1", "o-0"]
    seen: list[str] = []
    after: OrderKey | None = None
    for _ in range(4):
        page = await orders.list_orders(EVERYTHING, after, 2)
        seen += [order.order_id for order in page]
        after = (page[-1].place_time_us, page[-1].order_id)
    assert await orders.list_orders(EVERYTHING, after, 2) == []
    assert seen == await listed(orders)
    assert [order.personal for order in await orders.list_orders(EVERYTHING, None, 4)] == [b"", b"", b"", b"who"]


async def test_an_order_that_changes_keeps_its_place(orders: Orders, writer: Writer) -> None:
    await place_all(writer, 4)
    before = await listed(orders)
    await writer.submit(submission(AcceptOrder(order_id="o-1")))
    assert await listed(orders) == before
    assert await listed(orders, parse("state = ACCEPTED", FIELDS)) == ["o-3", "o-1", "o-0"]


async def test_a_history_is_the_orders_own_events_in_their_sequence(orders: Orders, writer: Writer) -> None:
    await place_all(writer, 7)
    events = await orders.list_order_events("o-6", 0, 10)
    decoded = [order_event_pb2.OrderEvent.FromString(event.body) for event in events]
    assert [(event.order_id, event.version) for event in decoded] == [("o-6", 1), ("o-6", 2)]
    assert [event.seq for event in decoded] == [event.seq for event in events]
    assert await orders.list_order_events("o-6", 0, 1) == events[:1]
    assert await orders.list_order_events("o-6", events[0].seq, 10) == events[1:]
    assert await orders.list_order_events("nobody", 0, 10) == []


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def restriction(field: str, values: tuple[str, ...]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", ":"])
    return st.builds(lambda sign, value: f"{field} {sign} {quoted(value)}", signs, st.sampled_from(values))


FILTERS = st.recursive(
    st.one_of(
        restriction("customer_id", TEXTS),
        restriction("store_id", TEXTS),
        restriction("order_id", ("o-1", "o-3", "p", "")),
        restriction("currency_code", ("USD", "JPY")),
        restriction("state", ("PENDING", "ACCEPTED", "CANCELED")),
        restriction("place_time", TIMES),
        st.just("store_id:*"),
    ),
    lambda inner: st.one_of(
        st.builds("NOT ({})".format, inner),
        st.builds("({}) AND ({})".format, inner, inner),
        st.builds("({}) OR ({})".format, inner, inner),
        st.builds("({}) ({})".format, inner, inner),
    ),
    max_leaves=6,
)


@pytest.fixture
async def placed(orders: Orders, writer: Writer) -> dict[str, dict[str, str | int]]:
    """What filters can see of each order that there is, newest first."""
    await place_all(writer, 26)
    return {each.order_id: attributes(each) for each in await orders.list_orders(EVERYTHING, None, 100)}


def attributes(stored: StoredOrder) -> dict[str, str | int]:
    order = order_from_wire(stored.body)
    seen = {name: getattr(order, name) for name in FIELDS if name != "place_time"}
    return {**seen, "state": order.state.value, "place_time": order.place_time_us}


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the orders are only read
)
@given(text=FILTERS)
async def test_a_filter_means_the_same_to_every_database(
    orders: Orders, placed: dict[str, dict[str, str | int]], text: str
) -> None:
    term = parse(text, FIELDS)
    assert await listed(orders, term) == [order_id for order_id, each in placed.items() if term.holds(each)]
