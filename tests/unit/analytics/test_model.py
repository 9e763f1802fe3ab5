"""The fold, by examples and by properties."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stateset.order.v1.order_event_pb2 import OrderEvent

from consumers.analytics.model import (
    NOWHERE,
    Change,
    Day,
    Funnel,
    Placing,
    Snapshot,
    Stage,
    Step,
    day_of,
    stages,
)
from consumers.analytics.wire import state_name, state_number, step_of
from consumers.sums import digest
from infra.kernel.digest import Digest
from tests.harness.day_figures import recomputed
from tests.harness.order_histories import histories, interleaved

PENDING = Snapshot(
    placed_day="2026-11-23",
    currency_code="USD",
    total=900,
    accepted=False,
    rejected=False,
    canceled=False,
    leaves=6,
    filled=0,
    shipped=0,
    delivered=0,
)


def folded(events: Sequence[OrderEvent]) -> Change:
    change = Change()
    reached: dict[str, Stage] = {}
    for event in events:
        reached[event.order_id] = change.add(step_of(event), reached.get(event.order_id, NOWHERE))
    return change


def proof(change: Change) -> list[Digest]:
    return [digest(sums.items()) for sums in (change.days, change.transitions, change.placings, change.funnels)]


def total(change: Change) -> Funnel:
    return Funnel(*map(sum, zip(*change.funnels.values(), strict=True)))


@pytest.mark.parametrize(
    ("order", "reached"),
    [
        (PENDING, Stage.PLACED),
        (replace(PENDING, accepted=True, leaves=2, filled=4, shipped=4, delivered=4), Stage.PLACED | Stage.ACCEPTED),
        (
            replace(PENDING, accepted=True, canceled=True, leaves=0, filled=4, shipped=3, delivered=3),
            Stage.PLACED | Stage.ACCEPTED | Stage.FILLED,
        ),
        (
            replace(PENDING, accepted=True, leaves=0, filled=6, shipped=6, delivered=5),
            Stage.PLACED | Stage.ACCEPTED | Stage.FILLED | Stage.SHIPPED,
        ),
        (
            replace(PENDING, accepted=True, leaves=0, filled=6, shipped=6, delivered=6),
            Stage.PLACED | Stage.ACCEPTED | Stage.FILLED | Stage.SHIPPED | Stage.DELIVERED,
        ),
        (replace(PENDING, canceled=True, leaves=0), Stage.PLACED | Stage.CANCELED),
        (replace(PENDING, rejected=True, leaves=0), Stage.PLACED | Stage.REJECTED),
    ],
)
def test_stages_follow_from_the_counters(order: Snapshot, reached: Stage) -> None:
    assert reached == stages(order)


def test_a_funnel_has_one_figure_for_each_stage_in_their_sequence() -> None:
    assert Funnel._fields == tuple(str(stage.name).lower() for stage in Stage)


def test_a_stage_once_reached_stays_and_counts_on_the_day_of_placing() -> None:
    change = Change()
    reached = change.add(Step(day="2026-11-23", previous_state="", state="PENDING", order=PENDING), NOWHERE)
    filled = replace(PENDING, accepted=True, leaves=0, filled=6)
    reached = change.add(Step(day="2026-11-25", previous_state="PENDING", state="FILLED", order=filled), reached)
    busted = replace(PENDING, accepted=True, leaves=6, filled=0)
    reached = change.add(Step(day="2026-11-26", previous_state="FILLED", state="ACCEPTED", order=busted), reached)
    change.add(Step(day="2026-11-26", previous_state="ACCEPTED", state="FILLED", order=filled), reached)
    assert {("2026-11-23",): Funnel(placed=1, accepted=1, filled=1)} == change.funnels
    assert {("2026-11-23", "USD"): Placing(orders=1, gross_value=900)} == change.placings
    assert {("2026-11-23",): Day(1, 1), ("2026-11-25",): Day(1, 0), ("2026-11-26",): Day(2, 0)} == change.days


def test_what_an_amendment_does_to_a_total_is_no_part_of_the_placing() -> None:
    change = Change()
    reached = change.add(Step(day="2026-11-23", previous_state="", state="PENDING", order=PENDING), NOWHERE)
    change.add(
        Step(day="2026-11-23", previous_state="PENDING", state="PENDING", order=replace(PENDING, total=1)), reached
    )
    assert {("2026-11-23", "USD"): Placing(orders=1, gross_value=900)} == change.placings


@pytest.mark.parametrize(
    ("time_us", "day"),
    [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (86_400_000_000 - 1, "1970-01-01"),
        (-62_135_596_800_000_000, "0001-01-01"),
        (253_402_300_799_999_999, "9999-12-31"),
    ],
)
def test_a_day_is_one_of_utc(time_us: int, day: str) -> None:
    assert day == day_of(time_us)


@pytest.mark.parametrize("state", [0, 1, 14, 15, 2015])
def test_a_states_name_leads_back_to_it_known_or_not(state: int) -> None:
    assert state == state_number(state_name(state))


@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=6))
def test_figures_do_not_depend_on_how_orders_interleave(chance: random.Random, orders: int) -> None:
    of_orders = histories(chance, orders)
    straight = [event for events in of_orders for event in events]
    assert proof(folded(straight)) == proof(folded(interleaved(chance, of_orders)))


@given(st.randoms(use_true_random=False), st.integers(min_value=1, max_value=6))
def test_figures_are_those_of_a_count_over_the_whole_log(chance: random.Random, orders: int) -> None:
    log = interleaved(chance, histories(chance, orders))
    change, truth = folded(log), recomputed(log)
    assert truth.transitions == {
        (key.day, state_number(key.previous_state), state_number(key.state)): value.events
        for key, value in change.transitions.items()
    }
    assert truth.orders == {tuple(key): value.orders for key, value in change.placings.items()}
    assert truth.gross == {tuple(key): value.gross_value for key, value in change.placings.items()}
    assert Funnel(**truth.funnel) == total(change)
    assert len(log) == sum(day.events for day in change.days.values())
