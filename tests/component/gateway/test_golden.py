"""Every RPC over HTTP, on the whole system."""

from pathlib import Path

import httpx

from tests.harness.gateway import running_system
from tests.harness.gateway_golden import GOLDEN, Golden, position_query, served_rpcs, shows


def test_there_is_a_golden_request_for_every_rpc() -> None:
    assert {golden.rpc for golden in GOLDEN} == set(served_rpcs())


async def test_every_rpc_answers_its_golden_request(tmp_path: Path) -> None:
    async with running_system(tmp_path) as system:
        wrong = []
        position = ""
        for number, golden in enumerate(GOLDEN):
            answer = await ask(system.http, golden, number, position)
            if answer.status_code != 200 or not shows(answer.json(), golden.shows):
                wrong.append((golden.rpc, golden.line, answer.status_code, answer.text))
            elif "position" in answer.json() and golden.body is not None:
                position = position_query(answer.json()["position"])
        assert wrong == []


async def ask(client: httpx.AsyncClient, golden: Golden, number: int, position: str) -> httpx.Response:
    method, _, path = golden.line.partition(" ")
    path = path.replace("POSITION", position)
    body = golden.body
    if body is not None and "/commands/" not in path:
        body = {"requestId": f"golden-{number:04}", **body}
    return await client.request(method, path, json=body)
