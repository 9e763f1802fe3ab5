from dataclasses import replace

import pytest
from stateset.common.v1.event_metadata_pb2 import EventMetadata
from stateset.order.v1.order_event_pb2 import OrderEvent

from consumers.cli.demo.checks import Check, checks
from consumers.cli.demo.figures import Figures, Total
from consumers.cli.demo.log_reader import Reading
from consumers.cli.demo.observed import Observation
from consumers.cli.demo.published import EventsTopic, Published, StateTopic
from infra.kernel.position import Position

FIGURES = Figures(
    orders=1,
    lines=1,
    placed=Total(2, 300),
    canceled=Total(),
    states={"DELIVERED": 1},
    customers={"c": Total(2, 300)},
    products={"p": Total(2, 300)},
    holdings={("c", "p"): Total(2, 300)},
    cash={"c": 300},
    exposures={("c", "USD"): 300},
    days={("2017-01-01", "USD"): Total(1, 300)},
    transitions={("2017-01-01", "", "PENDING"): 1, ("2017-01-01", "PENDING", "ACCEPTED"): 1},
    funnel={"placed": 1, "accepted": 1},
    events=2,
)

LOG = Position(log_epoch="e", next_seq=(3,))


def event(seq: int, version: int) -> OrderEvent:
    return OrderEvent(metadata=EventMetadata(event_id=f"e{seq}"), order_id="o", version=version, shard=0, seq=seq)


def reading(*events: OrderEvent) -> Reading:
    result = Reading((3,))
    for each in events:
        result.take(each)
    return result


def observation(figures: Figures = FIGURES, sync: Reading | None = None) -> Observation:
    complete = reading(event(1, 1), event(2, 2))
    return Observation(
        figures=figures,
        still_open=Total(),
        open_cents=0,
        heads=(3,),
        positions={"sync": (3,), "portfolio": (3,)},
        readings={"order": complete, "sync": sync or complete},
        digests={"order": (1, "aa"), "sync": (1, "aa")},
        published=None,
    )


def on_topics(events: EventsTopic, state: StateTopic) -> Observation:
    rebuilt = StateTopic(LOG, versions={"o": 2}).digest
    digests = dict.fromkeys(("order", "sync"), (rebuilt.count, rebuilt.hash.hex()))
    return replace(observation(), digests=digests, published=Published(events=events, state=state))


def wrong(observed: Observation) -> list[Check]:
    return [check for check in checks(FIGURES, observed) if not check.ok]


def test_a_right_system_passes_every_check() -> None:
    assert wrong(observation()) == []


def test_one_cent_at_one_customer_is_noticed_and_named() -> None:
    [check] = wrong(observation(replace(FIGURES, customers={"c": Total(2, 301)})))
    assert check.name == "totals per customer"
    assert check.expected == "1 customers, 2 units, USD 3.00; c: 2 units, USD 3.00"
    assert check.actual == "1 customers, 2 units, USD 3.01; c: 2 units, USD 3.01"


def test_a_holding_too_many_is_noticed_though_the_sums_are_right() -> None:
    holdings = {("c", "p"): Total(1, 300), ("c", "q"): Total(1, 0)}
    [check] = wrong(observation(replace(FIGURES, holdings=holdings)))
    assert check.actual == "2 holdings, 2 units, USD 3.00; c/p: 1 units, USD 3.00; c/q: 1 units, USD 0.00"


def test_a_service_that_lags_is_noticed() -> None:
    [check] = wrong(replace(observation(), positions={"sync": (3,), "portfolio": (2,)}))
    assert check.name == "portfolio: position = head of the log"


def test_a_gap_a_duplicate_and_a_skipped_version_are_noticed() -> None:
    gap = [check.actual for check in wrong(observation(sync=reading(event(2, 1))))]
    duplicate = [check.actual for check in wrong(observation(sync=reading(event(1, 1), event(1, 1), event(2, 2))))]
    version = [check.actual for check in wrong(observation(sync=reading(event(1, 1), event(2, 3))))]

    assert "1; shard 0: seq 2 came where 1 was due" in gap
    assert "2; shard 0: seq 1 came where 2 was due; o: version 1 came where 2 was due" in duplicate
    assert "1; o: version 3 came where 2 was due" in version


def test_another_digest_is_noticed() -> None:
    [check] = wrong(replace(observation(), digests={"order": (1, "aa"), "sync": (1, "ab")}))
    assert check.name == "read model = order database"


@pytest.mark.parametrize(
    ("figures", "name", "actual"),
    [
        (
            replace(FIGURES, exposures={}),
            "risk: value of filled units per customer",
            "0 customers, USD 0.00; c/USD: none",
        ),
        (
            replace(FIGURES, days={("2017-01-02", "USD"): Total(1, 300)}),
            "analytics: orders and GMV per day",
            "1 days, 1 orders, USD 3.00; 2017-01-01/USD: none; 2017-01-02/USD: 1 orders, USD 3.00",
        ),
        (
            replace(FIGURES, transitions={**FIGURES.transitions, ("2017-01-01", "", "PENDING"): 2}),
            "analytics: transitions per day",
            "2 transitions, 3 events; 2017-01-01//PENDING: 2 events",
        ),
        (replace(FIGURES, funnel={"placed": 1, "accepted": 0}), "analytics: funnel", "placed 1, accepted 0"),
    ],
)
def test_a_wrong_figure_of_a_consumer_is_noticed_and_named(figures: Figures, name: str, actual: str) -> None:
    [check] = wrong(observation(figures))
    assert (check.name, check.actual) == (name, actual)


def test_an_open_notional_is_noticed() -> None:
    [check] = wrong(replace(observation(), open_cents=1))
    assert (check.name, check.actual) == ("risk: open notional", "USD 0.01")


def test_topics_with_the_content_of_the_log_pass_every_check() -> None:
    events = EventsTopic(reading(event(1, 1), event(2, 2)))
    assert wrong(on_topics(events, StateTopic(LOG, versions={"o": 2}))) == []


def test_topics_that_lack_something_are_noticed() -> None:
    lacking = on_topics(EventsTopic(reading(event(1, 1))), StateTopic(LOG, versions={"o": 1}))
    assert [check.name for check in wrong(lacking)] == [
        "topic of events: records",
        "topic of events: same content as the stream",
        "orders rebuilt from the topic of state alone",
    ]


def test_the_same_event_with_other_content_is_noticed() -> None:
    other = event(2, 2)
    other.metadata.reason = "another"
    [check] = wrong(observation(sync=reading(event(1, 1), other)))
    assert check.name == "both streams carry the same events"
