"""Every RPC over HTTP, on the whole system."""

from pathlib import Path

from tests.harness.gateway import running_system
from tests.harness.gateway_golden import GOLDEN, served_rpcs, wrong_answers


def test_there_is_a_golden_request_for_every_rpc() -> None:
    assert {golden.rpc for golden in GOLDEN} == set(served_rpcs())


async def test_every_rpc_answers_its_golden_request(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        assert await wrong_answers(system.http, GOLDEN) == []
