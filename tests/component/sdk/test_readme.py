"""The README's examples run as they are printed."""

import asyncio
import re
from pathlib import Path
from typing import Any

import stateset_client
from stateset_client.testing import FakeSync

from tests.harness.fake_order_service import open_fake_order
from tests.harness.fake_sync_events import append_orders
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

_README = Path(stateset_client.__file__).parents[1] / "README.md"


def example(title: str) -> Any:  # noqa: ANN401 - whatever `main` the example defines
    section = _README.read_text().split(f"## {title}\n")[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block[1], "README.md", "exec"), names)  # noqa: S102 - our own text
    return names["main"]


async def test_place_an_order() -> None:
    async with open_fake_order() as service:
        assert await example("Place an order")(service.address) == "o-1"
        assert service.requests[0].customer_id == "ann"


async def test_place_very_many_orders() -> None:
    async with open_fake_order() as service:
        assert await example("Place very many orders")(service.address, 1_200) == []
        assert sorted(len(each) for each in service.streams) == [200, 1_000]


async def test_follow_the_events() -> None:
    async with FakeSync.start() as sync, asyncio.timeout(10):
        append_orders(sync, 10)
        seen = await example("Follow the events")(sync.address)
        assert sorted(seen) == [f"o-{number} v1" for number in range(10)]
        assert sync.floors["order-printer"] == sync.head


async def test_handle_each_event() -> None:
    log = LogMaker()
    log.groups(10)
    main = example("Handle each event")
    async with open_server(log.source) as client:
        handling = asyncio.create_task(main(client.address), name="handling")
        await eventually(lambda: len(main.__globals__["handled"]) == len(log.events))
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
    assert set(main.__globals__["handled"]) == {f"o-{number} v1" for number in range(1, 11)}
