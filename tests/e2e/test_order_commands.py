import asyncio
import json
from pathlib import Path

import grpc.aio
import pytest

from tests.harness.e2e_command_line import started, stateset, stateset_up
from tests.harness.order_service import order_service
from tests.harness.ports import free_address


async def test_an_order_is_placed_read_listed_and_watched_from_the_command_line(tmp_path: Path) -> None:
    async with stateset_up(tmp_path) as up:
        order, sync = up.address("order"), up.address("sync")
        place = ("place", "--address", order, "--customer", "c-1", "--order-id", "o-1", "--request-id", "request-1")
        lines = ("--line", "tea:2:1.99", "--line", "a:cup:1:4.50")

        first = await stateset(*place, *lines)
        again = await stateset(*place, *lines)
        got = await stateset("get", "--address", order, "o-1")
        listed = await stateset("list", "--address", order, "--filter", "state = PENDING")
        async with started(("watch", "--address", sync, "--from-start"), until="OrderPlaced"):
            pass

    assert (first.code, first.out) == (0, "o-1  PENDING  v1  c-1  USD 8.48\n")
    assert (again.out, listed.out) == (first.out, first.out)
    assert [line["productId"] for line in json.loads(got.out)["lines"]] == ["tea", "a:cup"]


async def test_a_refusal_is_one_line_that_says_why(tmp_path: Path) -> None:
    async with order_service(tmp_path) as service:
        order = service.address
        missing, invalid = await asyncio.gather(
            stateset("get", "--address", order, "o-1"),
            stateset("place", "--address", order, "--customer", "c-1", "--line", "tea:0:1.99"),
        )
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert "ORDER_NOT_FOUND" in missing.err
    assert (invalid.code, invalid.err.count("\n")) == (1, 1)
    assert "quantity" in invalid.err


@pytest.mark.parametrize(
    "command", [("get", "o-1"), ("list",), ("place", "--customer", "c-1", "--line", "tea:1:1"), ("watch",)]
)
async def test_an_address_at_which_nobody_speaks_is_told(command: tuple[str, ...]) -> None:
    address = free_address()
    outcome = await stateset(*command, "--address", address)
    assert (outcome.code, outcome.out) == (2 if command == ("watch",) else 1, "")
    assert outcome.err.endswith(f"{address} does not answer: is it up? See `stateset up`\n")


@pytest.mark.parametrize(("command", "service"), [(("get", "o-1"), "Order Service"), (("watch",), "Sync Server")])
async def test_another_service_at_the_address_is_told(command: tuple[str, ...], service: str) -> None:
    server, address = grpc.aio.server(), free_address()
    server.add_insecure_port(address)
    await server.start()
    outcome = await stateset(*command, "--address", address)
    await server.stop(None)
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith(f"no {service} at {address}")
