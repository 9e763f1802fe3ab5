"""The query RPCs over a real server, and the process around them."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.portfolio.v1.portfolio_service_pb2 import ListCashBalancesRequest
from stateset.risk.v1 import risk_service_pb2 as wire
from stateset.risk.v1.risk_service_pb2_grpc import RiskServiceStub
from stateset_client.errors import InvalidRequestError, error_of
from stateset_client.testing import FakeSync

from consumers.answers import page_of
from consumers.portfolio.store import BALANCES
from consumers.risk.main import RISK
from infra.kernel.money import amount
from infra.runtime.grpc.reads import page_token
from tests.harness.fake_sync_events import bare_event, eventually, line, order_event
from tests.harness.order_histories import histories, interleaved
from tests.harness.serving_consumer import Serving, caught_up, consumer_process, last_line, lines, serving, stop

if TYPE_CHECKING:
    from stateset.risk.v1.risk_service_pb2_grpc import RiskServiceAsyncStub

SECONDS = 10
CASH_BALANCES_PAGE = page_token(["c-0", "USD"], page_of(ListCashBalancesRequest(), BALANCES).asked.made_under)


@pytest.fixture
async def risk(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(RISK, tmp_path, events_max=7) as running:
        yield running


def rpc(risk: Serving) -> "RiskServiceAsyncStub":
    return RiskServiceStub(risk.channel)


async def every_exposure(risk: Serving, request: wire.ListExposuresRequest) -> list[wire.Exposure]:
    listed: list[wire.Exposure] = []
    while True:
        page = await rpc(risk).ListExposures(request, timeout=SECONDS)
        assert len(page.exposures) <= (request.page_size or 50)
        listed += page.exposures
        if not page.next_page_token:
            return listed
        request.page_token = page.next_page_token


def recomputed(of_orders: Sequence[Sequence[OrderEvent]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Open and filled minor units from the orders as they stand."""
    open_notional: Counter[tuple[str, str]] = Counter()
    filled: Counter[tuple[str, str]] = Counter()
    for order in (events[-1].order for events in of_orders):
        key = order.customer_id, order.currency_code
        filled[key] += order.filled_total.minor_units
        open_notional[key] += sum(
            amount(each.leaves, each.unit_price.nanos, order.currency_code) for each in order.lines
        )
    return {key: (open_notional[key], filled[key]) for key in open_notional}


async def test_exposures_are_those_of_the_orders_as_they_stand_whatever_breaks(risk: Serving, tmp_path: Path) -> None:
    chance = random.Random(20261123)  # noqa: S311 - a seed to replay
    of_orders = histories(chance, 60)
    for number, event in enumerate(interleaved(chance, of_orders)):
        risk.sync.append(event)
        if number % 60 == 0:
            await eventually(lambda: risk.frontier.position is not None)
            chance.choice([risk.sync.disconnect, risk.sync.go_away])()
    listed = await every_exposure(risk, wire.ListExposuresRequest(page_size=4, min_position=risk.sync.head))
    assert recomputed(of_orders) == {
        (each.customer_id, each.currency_code): (each.open_notional.minor_units, each.filled_amount.minor_units)
        for each in listed
    }
    assert all(
        each.gross_exposure.minor_units == each.open_notional.minor_units + each.filled_amount.minor_units
        for each in listed
    )
    live = await rpc(risk).GetDigest(wire.GetDigestRequest(min_position=risk.sync.head), timeout=SECONDS)
    (tmp_path / "rebuilt").mkdir()
    async with serving(RISK, tmp_path / "rebuilt") as rebuilt:
        for events in of_orders:
            for event in events:
                rebuilt.sync.append(event)
        again = await rpc(rebuilt).GetDigest(wire.GetDigestRequest(min_position=rebuilt.sync.head), timeout=SECONDS)
    assert live.digest == again.digest
    assert live.digest.count == len(listed)


async def test_a_read_with_min_position_includes_what_was_just_recorded(risk: Serving) -> None:
    risk.sync.append(order_event("o-1", 1, [line("pen", filled=2, leaves=1)], customer_id="ann"))
    asked = wire.GetExposureRequest(customer_id="ann", currency_code="USD", min_position=risk.sync.head)
    reply = await rpc(risk).GetExposure(asked, timeout=SECONDS)
    assert (reply.exposure.open_notional.minor_units, reply.exposure.filled_amount.minor_units) == (150, 300)
    assert reply.exposure.gross_exposure.minor_units == 450
    assert reply.freshness.position == risk.sync.head


async def test_a_change_of_tomorrow_is_folded_by_the_order_that_it_carries(risk: Serving) -> None:
    risk.sync.append(order_event("o-1", 1, [line("pen", leaves=3)], customer_id="ann"))
    tomorrow = order_event("o-1", 2, [line("pen", leaves=1, filled=2)], customer_id="ann")
    unknown_change = b"\xfa\x7d\x03\x0a\x01x"  # field 2015, length-delimited: no reader of today knows it
    risk.sync.append(OrderEvent.FromString(tomorrow.SerializeToString() + unknown_change))
    asked = wire.GetExposureRequest(customer_id="ann", currency_code="USD", min_position=risk.sync.head)
    reply = await rpc(risk).GetExposure(asked, timeout=SECONDS)
    assert (reply.exposure.open_notional.minor_units, reply.exposure.filled_amount.minor_units) == (150, 300)


async def test_exposures_are_listed_under_a_filter(risk: Serving) -> None:
    for number in range(4):
        risk.sync.append(order_event(f"o-{number}", 1, [line("pen", leaves=1)], customer_id=f"c-{number}"))
    request = wire.ListExposuresRequest(filter='customer_id > "c-1"', page_size=1, min_position=risk.sync.head)
    assert [each.customer_id for each in await every_exposure(risk, request)] == ["c-2", "c-3"]


async def test_who_never_ordered_is_exposed_to_nothing(risk: Serving) -> None:
    reply = await rpc(risk).GetExposure(wire.GetExposureRequest(customer_id="x", currency_code="USD"), timeout=SECONDS)
    assert (reply.exposure.customer_id, reply.exposure.gross_exposure.minor_units) == ("x", 0)


async def test_every_field_that_is_wrong_is_named_at_once(risk: Serving) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(risk).GetExposure(wire.GetExposureRequest(customer_id="a\0"), timeout=SECONDS)
    error = error_of(caught.value)
    assert isinstance(error, InvalidRequestError)
    assert {each.field for each in error.violations} == {"customer_id", "currency_code"}


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (wire.ListExposuresRequest(filter='customer_id = "a\0b"'), {"filter"}),
        (wire.ListExposuresRequest(filter="color = red", page_size=-1), {"filter", "page_size"}),
        (wire.ListExposuresRequest(page_token=CASH_BALANCES_PAGE), {"page_token"}),
    ],
)
async def test_a_list_that_cannot_be_is_refused_and_so_is_the_page_of_another_list(
    risk: Serving, request_: wire.ListExposuresRequest, fields: set[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(risk).ListExposures(request_, timeout=SECONDS)
    error = error_of(caught.value)
    assert isinstance(error, InvalidRequestError)
    assert {each.field for each in error.violations} == fields


async def test_the_process_survives_a_kill_stops_cleanly_and_refuses_another_log(tmp_path: Path) -> None:
    async with FakeSync.start(shards=2) as sync:
        sync.append(order_event("o-1", 1, [line("pen", leaves=1)]))
        async with consumer_process("risk", sync, tmp_path) as killed:
            await caught_up("risk", sync)
            killed.kill()
            await killed.communicate()
        sync.append(order_event("o-1", 2, [line("pen", filled=1)]))
        async with consumer_process("risk", sync, tmp_path) as stopped:
            await caught_up("risk", sync)
            assert await stop(stopped) == 0
        sync.recreate()
        async with consumer_process("risk", sync, tmp_path) as refused:
            assert "another log" in await last_line(refused)
        assert refused.returncode == 2


async def test_a_new_database_is_not_filled_from_what_retention_has_left(tmp_path: Path) -> None:
    async with FakeSync.start(shards=2) as sync:
        for version in (1, 2):
            sync.append(order_event("o-1", version, [line("pen", leaves=1)]), shard=0)
        sync.forget(0, 2)
        async with consumer_process("risk", sync, tmp_path) as refused:
            said = await last_line(refused)
        assert refused.returncode == 2
        assert said.startswith(f"the log's retention has taken events that sqlite:///{tmp_path}/risk.db needs")
        assert "--log-retention-hours" in said
        assert "new file" not in said


@pytest.mark.parametrize(
    ("break_it", "reason", "code", "told"),
    [
        (lambda sync: sync.fence("risk"), "FENCED", 1, "run this consumer once"),
        (lambda sync: sync.lose(0), "GAP", 1, "start again"),
        (lambda sync: sync.append(bare_event("o-1", 4), shard=0), "VERSION_GAP", 2, "name a new file with --database"),
    ],
)
async def test_what_ends_the_process_is_one_record_and_a_last_line_that_says_what_to_do(
    tmp_path: Path, break_it: Callable[[FakeSync], object], reason: str, code: int, told: str
) -> None:
    async with FakeSync.start(shards=2) as sync:
        sync.append(order_event("o-1", 1, [line("pen", leaves=1)]), shard=0)
        async with consumer_process("risk", sync, tmp_path) as ended:
            await caught_up("risk", sync)
            break_it(sync)
            sync.append(order_event("o-1", 2, [line("pen", leaves=1)]), shard=0)
            *_, record, last = await lines(ended)
        assert ended.returncode == code
        assert (json.loads(record)["reason"], json.loads(record)["error"]) == (reason, last)
        assert told in last
