"""The query RPCs over a real server, and the process around them."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from stateset.portfolio.v1 import portfolio_service_pb2 as wire
from stateset.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from stateset_client import Projection, StreamLimits
from stateset_client.errors import InvalidRequestError, LogEpochChangedError, PositionNotReachedError, error_of
from stateset_client.testing import FakeSync

from consumers.portfolio.main import PORTFOLIO
from consumers.portfolio.store import PortfolioStore
from consumers.runner import Frontier
from infra.runtime.clock import SystemClock
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import open_server
from tests.harness.fake_sync_events import eventually, line, order_event
from tests.harness.portfolio_store import open_portfolio


class Portfolio:
    """A portfolio's parts in this process, folding from a FakeSync."""

    def __init__(self, sync: FakeSync, frontier: Frontier, channel: grpc.aio.Channel) -> None:
        self.sync = sync
        self.frontier = frontier
        self.rpc = PortfolioServiceStub(channel)


@pytest.fixture
async def portfolio(tmp_path: Path) -> AsyncIterator[Portfolio]:
    async with FakeSync.start(shards=2) as sync, open_portfolio(tmp_path) as database:
        frontier = Frontier(SystemClock(), Draining())
        projection = Projection(
            sync.address,
            "portfolio",
            store=PortfolioStore(database),
            apply=PORTFOLIO.apply,
            limits=StreamLimits(heartbeat_seconds=0.5),
            on_commit=frontier.advance,
        )
        services = PORTFOLIO.services(database, frontier)
        async with (
            open_server("127.0.0.1:0", services, domain="portfolio", errors={}, draining=Draining()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            task = asyncio.create_task(projection.run(), name="projection")
            yield Portfolio(sync, frontier, channel)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def fill(sync: FakeSync, number: int, customer_id: str, *products: str) -> None:
    lines = [line(product, filled=2, leaves=1) for product in products]
    sync.append(order_event(f"o-{number}", 1, lines, customer_id=customer_id))


async def test_a_read_with_min_position_includes_what_was_just_recorded(portfolio: Portfolio) -> None:
    fill(portfolio.sync, 1, "ann", "pen")
    asked = wire.GetHoldingRequest(
        customer_id="ann", product_id="pen", currency_code="USD", min_position=portfolio.sync.head
    )
    reply = await portfolio.rpc.GetHolding(asked, timeout=20)
    assert (reply.holding.quantity, reply.holding.open_quantity, reply.holding.cost.minor_units) == (2, 1, 300)
    assert reply.freshness.position == portfolio.sync.head
    cash = await portfolio.rpc.GetCashBalance(
        wire.GetCashBalanceRequest(customer_id="ann", currency_code="USD"), timeout=20
    )
    assert (cash.cash_balance.spent.minor_units, cash.cash_balance.committed.minor_units) == (300, 150)


async def test_an_answer_says_when_it_was_the_whole_log(portfolio: Portfolio) -> None:
    fill(portfolio.sync, 1, "ann", "pen")
    await eventually(lambda: portfolio.frontier.as_of_us > 0)
    reply = await portfolio.rpc.GetDigest(wire.GetDigestRequest(min_position=portfolio.sync.head), timeout=20)
    assert reply.freshness.staleness.ToMilliseconds() < 10_000
    assert reply.digest.count == 2


async def test_a_position_that_is_not_reached_in_time_is_told_before_the_deadline(portfolio: Portfolio) -> None:
    await eventually(lambda: portfolio.frontier.position is not None)
    ahead = portfolio.sync.position([5, 1])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await portfolio.rpc.GetDigest(wire.GetDigestRequest(min_position=ahead), timeout=3)
    assert isinstance(error_of(caught.value), PositionNotReachedError)
    assert error_of(caught.value).retry_after_seconds is not None


async def test_a_position_of_another_log_is_refused(portfolio: Portfolio) -> None:
    await eventually(lambda: portfolio.frontier.position is not None)
    other = portfolio.sync.head
    other.log_epoch = "another"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await portfolio.rpc.GetDigest(wire.GetDigestRequest(min_position=other), timeout=20)
    assert isinstance(error_of(caught.value), LogEpochChangedError)


async def test_holdings_are_listed_page_by_page_under_a_filter(portfolio: Portfolio) -> None:
    for number in range(6):
        fill(portfolio.sync, number, f"c-{number % 2}", "pen", f"ink-{number}")
    request = wire.ListHoldingsRequest(page_size=2, filter='customer_id = "c-1"', min_position=portfolio.sync.head)
    listed: list[str] = []
    while True:
        reply = await portfolio.rpc.ListHoldings(request, timeout=20)
        assert len(reply.holdings) <= 2
        listed += [holding.product_id for holding in reply.holdings]
        if not reply.next_page_token:
            break
        request.page_token = reply.next_page_token
    assert listed == ["ink-1", "ink-3", "ink-5", "pen"]
    balances = await portfolio.rpc.ListCashBalances(wire.ListCashBalancesRequest(page_size=1), timeout=20)
    assert [each.customer_id for each in balances.cash_balances] == ["c-0"]
    assert balances.next_page_token


async def test_what_nobody_ever_bought_is_a_holding_of_nothing(portfolio: Portfolio) -> None:
    asked = wire.GetHoldingRequest(customer_id="x", product_id="y", currency_code="USD")
    reply = await portfolio.rpc.GetHolding(asked, timeout=20)
    assert (reply.holding.customer_id, reply.holding.quantity) == ("x", 0)


async def test_every_field_that_is_wrong_is_named_at_once(portfolio: Portfolio) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await portfolio.rpc.GetHolding(wire.GetHoldingRequest(product_id="\0"), timeout=20)
    error = error_of(caught.value)
    assert isinstance(error, InvalidRequestError)
    assert {each.field for each in error.violations} == {"customer_id", "currency_code", "product_id"}


@asynccontextmanager
async def process(sync: FakeSync, folder: Path) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumers.portfolio", "--database", f"sqlite:///{folder / 'portfolio.db'}"),
        *("--sync-address", sync.address, "--grpc-address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"),
        stderr=PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("STATESET_")},
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.communicate()


async def test_the_process_stops_cleanly_survives_a_kill_and_refuses_another_log(tmp_path: Path) -> None:
    async with FakeSync.start(shards=2) as sync:
        for number in range(20):
            fill(sync, number, "ann", "pen")
        async with process(sync, tmp_path) as killed:
            await eventually(lambda: sync.acks, within_seconds=30)
            killed.kill()
            await killed.communicate()
        for number in range(20, 30):
            fill(sync, number, "ann", "pen")
        async with process(sync, tmp_path) as stopped:
            await eventually(lambda: sync.floors["portfolio"] == sync.head, within_seconds=30)
            stopped.send_signal(signal.SIGTERM)
            await asyncio.wait_for(stopped.communicate(), 20)
            assert stopped.returncode == 0
        sync.recreate()
        async with process(sync, tmp_path) as refused:
            _, said = await asyncio.wait_for(refused.communicate(), 30)
            assert refused.returncode == 2
        last_line = said.decode().splitlines()[-1]
        assert "another log" in last_line
        assert "--database" in last_line
