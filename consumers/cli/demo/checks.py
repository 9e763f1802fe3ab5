"""The verdict: each expected figure beside the actual one. Pure."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from consumers.cli.demo.figures import Figures, Total
from consumers.cli.demo.log_reader import Faults, Reading
from consumers.cli.demo.observed import Observation
from consumers.cli.demo.published import Published

Key = TypeVar("Key", bound=Hashable)
_DIFFERENCES_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure as it should be and as it is: a number, or a line of text."""

    name: str
    expected: int | str
    actual: int | str
    ok: bool


def checks(expected: Figures, seen: Observation) -> list[Check]:
    """All checks; the demo is right if every one of them holds."""
    found = [*_figures(expected, seen.figures), *_consumers(expected, seen.figures), *_proofs(expected, seen)]
    if seen.published is not None:
        found += _topics(expected, seen.published, seen)
    return found


def _figures(expected: Figures, actual: Figures) -> Iterator[Check]:
    yield _equal("orders", expected.orders, actual.orders)
    yield _equal("lines", expected.lines, actual.lines)
    yield _equal("units", expected.placed.units, actual.placed.units)
    yield _equal("GMV", money(expected.placed.cents), money(actual.placed.cents))
    yield _equal("canceled units", expected.canceled.units, actual.canceled.units)
    yield _equal("canceled GMV", money(expected.canceled.cents), money(actual.canceled.cents))
    yield _equal("orders per state", _states(expected.states), _states(actual.states))
    yield _same("totals per customer", "customers", expected.customers, actual.customers, _units)
    yield _same("totals per product", "products", expected.products, actual.products, _units)


def _consumers(expected: Figures, actual: Figures) -> Iterator[Check]:
    holdings = "portfolio: holdings per customer and product"
    yield _same(holdings, "holdings", expected.holdings, actual.holdings, _units)
    yield _same("portfolio: cash spent per customer", "customers", _spent(expected.cash), _spent(actual.cash), _cost)
    exposed = "risk: value of filled units per customer"
    yield _same(exposed, "customers", _spent(expected.exposures), _spent(actual.exposures), _cost)
    yield _same("analytics: orders and GMV per day", "days", expected.days, actual.days, _orders)
    transitions = _counted(expected.transitions), _counted(actual.transitions)
    yield _same("analytics: transitions per day", "transitions", *transitions, _events)
    yield _equal("analytics: funnel", _stages(expected.funnel), _stages(actual.funnel))


def _proofs(expected: Figures, seen: Observation) -> Iterator[Check]:
    yield _equal("portfolio: open units", 0, seen.still_open.units)
    yield _equal("portfolio: cash committed", money(0), money(seen.still_open.cents))
    yield _equal("risk: open notional", money(0), money(seen.open_cents))
    yield _equal("events in the log", expected.events, seen.figures.events)
    for name, position in seen.positions.items():
        yield _equal(f"{name}: position = head of the log", _seqs(seen.heads), _seqs(position))
    for name, reading in seen.readings.items():
        yield _equal(f"{name}: events streamed", expected.events, reading.events)
        yield _equal(f"{name}: gaps and duplicates in the stream", 0, _faults(reading.faults))
    yield _equal(
        "both streams carry the same events", _content(seen.readings["order"]), _content(seen.readings["sync"])
    )
    yield _equal("read model = order database", _digest(seen.digests["order"]), _digest(seen.digests["sync"]))
    yield _equal("orders in the digest", expected.orders, seen.digests["order"][0])


def _topics(expected: Figures, topics: Published, seen: Observation) -> Iterator[Check]:
    events, state = topics.events, topics.state
    rebuilt = (state.digest.count, state.digest.hash.hex())
    yield _equal("topic of events: records", expected.events, events.reading.events)
    yield _equal("topic of events: gaps and duplicates", 0, _faults(events.reading.faults))
    yield _equal("topic of events: partitions, keys, timestamps, headers", 0, _faults(events.faults))
    yield _equal(
        "topic of events: same content as the stream", _content(seen.readings["sync"]), _content(events.reading)
    )
    yield _equal("topic of state: partitions, keys, timestamps, headers", 0, _faults(state.faults))
    yield _equal("orders rebuilt from the topic of state alone", _digest(seen.digests["order"]), _digest(rebuilt))


def _equal(name: str, expected: int | str, actual: int | str) -> Check:
    return Check(name=name, expected=expected, actual=actual, ok=expected == actual)


def _same(
    name: str,
    what: str,
    expected: Mapping[Key, Total],
    actual: Mapping[Key, Total],
    told: Callable[[Total], str],
) -> Check:
    """Compares whole mappings, and says their sums and the first differences."""
    different = sorted(
        (key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key)), key=str
    )
    return Check(
        name=name,
        expected=_summary(what, expected, different[:_DIFFERENCES_MAX], told),
        actual=_summary(what, actual, different[:_DIFFERENCES_MAX], told),
        ok=not different,
    )


def _summary(what: str, totals: Mapping[Key, Total], different: Sequence[Key], told: Callable[[Total], str]) -> str:
    total = Total(sum(each.units for each in totals.values()), sum(each.cents for each in totals.values()))
    told_apart = [f"{_key(key)}: {told(totals[key]) if key in totals else 'none'}" for key in different]
    return "; ".join([f"{len(totals)} {what}, {told(total)}", *told_apart])


def _key(key: object) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(key)


def _units(total: Total) -> str:
    return f"{total.units} units, {money(total.cents)}"


def _orders(total: Total) -> str:
    return f"{total.units} orders, {money(total.cents)}"


def _events(total: Total) -> str:
    return f"{total.units} events"


def _cost(total: Total) -> str:
    return money(total.cents)


def _spent(cents: Mapping[Key, int]) -> Mapping[Key, Total]:
    return {key: Total(0, each) for key, each in cents.items()}


def _counted(counts: Mapping[Key, int]) -> Mapping[Key, Total]:
    return {key: Total(each) for key, each in counts.items()}


def money(cents: int) -> str:
    """The amount for people: 123456 is "USD 1234.56"."""
    whole, rest = divmod(abs(cents), 100)
    return f"USD {'-' if cents < 0 else ''}{whole}.{rest:02}"


def _states(states: Mapping[str, int]) -> str:
    return ", ".join(f"{state} {count}" for state, count in sorted(states.items()))


def _stages(funnel: Mapping[str, int]) -> str:
    """In the sequence of the way, which both sides keep."""
    return ", ".join(f"{stage} {count}" for stage, count in funnel.items())


def _seqs(next_seq: Sequence[int]) -> str:
    return " ".join(map(str, next_seq))


def _faults(faults: Faults) -> int | str:
    return "; ".join([f"{faults.count}", *faults.first]) if faults.count else 0


def _content(reading: Reading) -> str:
    return f"{reading.digest.count} events, {reading.digest.hash.hex()}"


def _digest(digest: tuple[int, str]) -> str:
    count, content = digest
    return f"{count} orders, {content}"
