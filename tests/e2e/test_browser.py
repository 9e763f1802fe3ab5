"""What README.md shows for browsers, in a real one: pages that read on after the Sync Server was killed."""

import asyncio
import re
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest
from playwright.async_api import ConsoleMessage
from stateset.order.v1 import order_service_pb2_grpc

from tests.harness.browser import browser, serving_pages
from tests.harness.orders import place_request
from tests.harness.ports import HOST, free_address
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually

SCRIPTS = re.findall(
    r"^```js\n(.*?)^```$", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
USUAL = "127.0.0.1:8080"
ORDERS = 30


class Log:
    """What a page has written to its console: `shard seq` for each event that it was sent."""

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = defaultdict(list)

    @property
    def count(self) -> int:
        return sum(map(len, self.seqs.values()))

    def hear(self, message: ConsoleMessage) -> None:
        if message.type == "log":
            shard, seq, *_ = message.text.split()
            self.seqs[shard].append(int(seq))


async def place(channel: grpc.aio.Channel) -> None:
    stub = order_service_pb2_grpc.OrderServiceStub(channel)
    for _ in range(ORDERS):
        await stub.PlaceOrder(place_request(1), timeout=20)


async def test_pages_read_on_after_a_kill_without_a_loss_or_a_repetition(tmp_path: Path) -> None:
    order, sync, http = (free_address() for _ in range(3))
    pages = {f"/{number}": script.replace(USUAL, http) for number, script in enumerate(SCRIPTS)}
    async with AsyncExitStack() as stack:
        chromium = await stack.enter_async_context(browser())
        port = stack.enter_context(serving_pages(pages))
        origin = f"http://{HOST}:{port}"
        options = ("--order-address", order, "--http-address", http, "--http-origins", origin)
        await stack.enter_async_context(running("order", tmp_path, order))
        orders = await stack.enter_async_context(connected(order))
        logs = {path: Log() for path in pages}
        async with running("sync", tmp_path, sync, *options) as process, connected(sync):
            for path, log in logs.items():
                page = await chromium.new_page()
                page.on("console", log.hear)
                await page.goto(origin + path)
            await place(orders)
            await eventually(lambda: min(log.count for log in logs.values()) >= ORDERS // 2, within_seconds=60)
            process.kill()
            await process.wait()
        await place(orders)
        async with running("sync", tmp_path, sync, *options):
            await eventually(lambda: min(log.count for log in logs.values()) >= 2 * ORDERS, within_seconds=60)
            await place(orders)
            await eventually(lambda: min(log.count for log in logs.values()) >= 3 * ORDERS, within_seconds=60)
    assert len(logs) == 2
    for log in logs.values():
        assert log.count == 3 * ORDERS
        assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in log.seqs.values())


REFUSED = """http => Promise.all([
  fetch(`http://${http}/v1/log/head`).then(() => 'read', () => 'refused'),
  fetch(`http://${http}/v1/orders`, {method: 'POST', body: '{}'}).then(() => 'read', () => 'refused'),
  new Promise(done => {
    const events = new EventSource(`http://${http}/v1/events`)
    events.onopen = () => done('open')
    events.onerror = () => { events.close(); done('refused') }
  }),
  new Promise(done => {
    const socket = new WebSocket(`ws://${http}/v1/stream`)
    socket.onopen = () => done('open')
    socket.onerror = () => done('refused')
  }),
])"""


@pytest.mark.parametrize(
    ("host", "answers"), [(HOST, ["read", "read", "open", "open"]), ("localhost", ["refused"] * 4)]
)
async def test_a_page_of_an_origin_that_is_not_allowed_gets_nothing(
    host: str, answers: list[str], tmp_path: Path
) -> None:
    order, sync, http = (free_address() for _ in range(3))
    async with AsyncExitStack() as stack:
        chromium = await stack.enter_async_context(browser())
        port = stack.enter_context(serving_pages({"/": ""}))
        options = ("--order-address", order, "--http-address", http, "--http-origins", f"http://{HOST}:{port}")
        await stack.enter_async_context(running("order", tmp_path, order))
        await stack.enter_async_context(running("sync", tmp_path, sync, *options))
        await stack.enter_async_context(connected(sync))
        page = await chromium.new_page()
        await page.goto(f"http://{host}:{port}/")
        async with asyncio.timeout(60):
            assert await page.evaluate(REFUSED, http) == answers
