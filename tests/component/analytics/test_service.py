"""The query RPCs over a real server, and the process around them."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from stateset.analytics.v1 import analytics_service_pb2 as wire
from stateset.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import ORDER_STATE_PENDING, ORDER_STATE_UNSPECIFIED
from stateset_client.errors import InvalidRequestError, error_of
from stateset_client.testing import FakeSync

from consumers.analytics.main import ANALYTICS
from tests.harness.day_figures import day, recomputed
from tests.harness.fake_sync_events import eventually, line, order_event
from tests.harness.order_histories import histories, interleaved
from tests.harness.serving_consumer import Serving, caught_up, consumer_process, last_line, serving, stop

if TYPE_CHECKING:
    from stateset.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub

SECONDS = 10
GROUPS = (wire.METRIC_GROUP_UNSPECIFIED, wire.METRIC_GROUP_TRANSITION, wire.METRIC_GROUP_CURRENCY)
TOMORROWS_STATE = 2015


@pytest.fixture
async def analytics(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(ANALYTICS, tmp_path, events_max=7) as running:
        yield running


def rpc(analytics: Serving) -> "AnalyticsServiceAsyncStub":
    return AnalyticsServiceStub(analytics.channel)


async def query(analytics: Serving, request: wire.QueryMetricsRequest) -> list[wire.Metric]:
    """Every page."""
    metrics: list[wire.Metric] = []
    while True:
        page = await rpc(analytics).QueryMetrics(request, timeout=SECONDS)
        assert len(page.metrics) <= (request.page_size or 50)
        metrics += page.metrics
        if not page.next_page_token:
            return metrics
        request.page_token = page.next_page_token


def record(analytics: Serving, orders: int) -> list[OrderEvent]:
    """Events of some orders; the streams break in between."""
    chance = random.Random(20261123)  # noqa: S311 - a seed to replay
    log = interleaved(chance, histories(chance, orders))
    for number, event in enumerate(log):
        analytics.sync.append(event)
        if number % 60 == 0:
            chance.choice([analytics.sync.disconnect, analytics.sync.go_away])()
    return log


async def test_figures_are_those_of_a_count_over_the_whole_log_whatever_breaks(analytics: Serving) -> None:
    await eventually(lambda: analytics.frontier.position is not None)
    log = record(analytics, 60)
    truth, head = recomputed(log), analytics.sync.head
    days, transitions, currencies = [
        await query(analytics, wire.QueryMetricsRequest(group_by=group, page_size=5, min_position=head))
        for group in GROUPS
    ]
    assert truth.transitions == {(each.day, each.previous_state, each.state): each.events for each in transitions}
    assert truth.orders == {(each.day, each.currency_code): each.orders_placed for each in currencies}
    assert truth.gross == {
        (each.day, each.currency_code): each.gross_merchandise_value.minor_units for each in currencies
    }
    assert len(log) == sum(each.events for each in days)
    assert sum(each.orders_placed for each in days) == 60
    funnel = (await rpc(analytics).GetFunnel(wire.GetFunnelRequest(), timeout=SECONDS)).funnel
    assert truth.funnel == {field.name: value for field, value in funnel.ListFields()}


async def test_live_and_rebuilt_in_another_interleaving_agree(analytics: Serving, tmp_path: Path) -> None:
    await eventually(lambda: analytics.frontier.position is not None)
    log = record(analytics, 40)
    live = await rpc(analytics).GetDigest(wire.GetDigestRequest(min_position=analytics.sync.head), timeout=SECONDS)
    (tmp_path / "rebuilt").mkdir()
    async with serving(ANALYTICS, tmp_path / "rebuilt") as rebuilt:
        for event in sorted(log, key=lambda event: (event.order_id, event.version)):
            rebuilt.sync.append(event)
        again = await rpc(rebuilt).GetDigest(wire.GetDigestRequest(min_position=rebuilt.sync.head), timeout=SECONDS)
    assert live.digest == again.digest
    assert live.digest.count > 0


async def test_a_window_holds_its_first_and_its_last_day(analytics: Serving) -> None:
    await eventually(lambda: analytics.frontier.position is not None)
    log = record(analytics, 20)
    days = sorted({day(event) for event in log})[1:-1]
    window = wire.QueryMetricsRequest(first_day=days[0], last_day=days[-1], min_position=analytics.sync.head)
    assert days == [each.day for each in await query(analytics, window)]
    placed = {day(event) for event in log if event.version == 1}
    for placing_day in placed:
        request = wire.GetFunnelRequest(first_day=placing_day, last_day=placing_day)
        funnel = (await rpc(analytics).GetFunnel(request, timeout=SECONDS)).funnel
        assert funnel.placed == sum(event.version == 1 and day(event) == placing_day for event in log)


async def test_a_figure_that_a_group_does_not_tell_is_not_set(analytics: Serving) -> None:
    analytics.sync.append(order_event("o-1", 1, [line("pen", leaves=1)]))
    [total, transition, currency] = [
        metric
        for group in GROUPS
        for metric in await query(analytics, wire.QueryMetricsRequest(group_by=group, min_position=analytics.sync.head))
    ]
    assert {field.name for field, _ in total.ListFields()} == {"day", "events", "orders_placed"}
    assert not transition.HasField("orders_placed")
    assert not currency.HasField("events")


async def test_a_state_of_tomorrow_is_counted_under_its_number(analytics: Serving) -> None:
    first = order_event("o-1", 1, [line("pen", leaves=1)])
    first.state = ORDER_STATE_PENDING
    analytics.sync.append(first)
    tomorrow = order_event("o-1", 2, [line("pen", leaves=1)])
    tomorrow.previous_state = ORDER_STATE_PENDING
    tomorrow = OrderEvent.FromString(tomorrow.SerializeToString() + b"\x38\xdf\x0f")  # field 7: state = 2015
    analytics.sync.append(tomorrow)
    request = wire.QueryMetricsRequest(group_by=wire.METRIC_GROUP_TRANSITION, min_position=analytics.sync.head)
    assert {(each.previous_state, each.state) for each in await query(analytics, request)} == {
        (ORDER_STATE_UNSPECIFIED, ORDER_STATE_PENDING),
        (ORDER_STATE_PENDING, TOMORROWS_STATE),
    }


@pytest.mark.parametrize(
    ("request_fields", "named"),
    [
        ({"first_day": "23.11.2026", "last_day": "20261123"}, {"first_day", "last_day"}),
        ({"first_day": "2026-11-24", "last_day": "2026-11-23"}, {"last_day"}),
        ({"first_day": "2026-02-30"}, {"first_day"}),
        ({"group_by": 7}, {"group_by"}),
        ({"page_size": -1}, {"page_size"}),
        ({"page_token": "x"}, {"page_token"}),
    ],
)
async def test_what_is_wrong_with_a_query_is_named(
    analytics: Serving, request_fields: dict[str, object], named: set[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(analytics).QueryMetrics(
            wire.QueryMetricsRequest(**request_fields),  # type: ignore[arg-type]  # any field
            timeout=SECONDS,
        )
    error = error_of(caught.value)
    assert isinstance(error, InvalidRequestError)
    assert {each.field for each in error.violations} == named


async def test_a_page_token_is_bound_to_its_query(analytics: Serving) -> None:
    for number in range(2):
        event = order_event(f"o-{number}", 1, [line("pen", leaves=1)])
        event.metadata.occur_time.FromSeconds(number * 86_400)
        analytics.sync.append(event)
    first = await rpc(analytics).QueryMetrics(
        wire.QueryMetricsRequest(page_size=1, min_position=analytics.sync.head), timeout=SECONDS
    )
    other = wire.QueryMetricsRequest(page_token=first.next_page_token, first_day="1970-01-02")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(analytics).QueryMetrics(other, timeout=SECONDS)
    assert isinstance(error_of(caught.value), InvalidRequestError)


async def test_the_process_survives_a_kill_stops_cleanly_and_refuses_another_log(tmp_path: Path) -> None:
    async with FakeSync.start(shards=2) as sync:
        sync.append(order_event("o-1", 1, [line("pen", leaves=1)]))
        async with consumer_process("analytics", sync, tmp_path) as killed:
            await caught_up("analytics", sync)
            killed.kill()
            await killed.communicate()
        sync.append(order_event("o-1", 2, [line("pen", filled=1)]))
        async with consumer_process("analytics", sync, tmp_path) as stopped:
            await caught_up("analytics", sync)
            assert await stop(stopped) == 0
        sync.recreate()
        async with consumer_process("analytics", sync, tmp_path) as refused:
            assert "another log" in await last_line(refused)
        assert refused.returncode == 2
