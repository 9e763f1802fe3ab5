"""Requests made up from the OpenAPI document, valid and not: none of them is answered with 500 or breaks the server.

`make test` sends 200 and those that are written here, `make test-guarantees` 10,000 (FUZZ).
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.schemas import OpenApiSchema

from tests.harness.memory import resident_bytes
from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running

pytestmark = pytest.mark.timeout(0)  # as many requests as asked for, each of whose waits has a bound

_REQUESTS = int(os.environ.get("FUZZ", "200"))
_GROWTH_BYTES_MAX = 200 * 1024 * 1024
_BODIES = (b"", b"{", b"\xff\xfe", b"[" * 50_000, b'{"lines": [' + b"{}," * 20_000 + b"{}]}", b'{"a": 1e400}', b"null")
_PATHS = (
    "/",
    "/v1/orders/%00",
    "/v1/orders/%ff",
    "/v1/" + "a/" * 500,
    "/v1/orders/..%2f..",
    "//",
    "/v1/orders?%",
    "/*",
)


async def test_nothing_that_is_sent_is_answered_with_500(tmp_path: Path) -> None:
    order, sync, http = (free_address() for _ in range(3))
    options = ("--order-address", order, "--http-address", http)
    nobody = [part for name in ("risk", "portfolio", "analytics") for part in (f"--{name}-address", free_address())]
    async with (
        running("order", tmp_path, order),
        connected(order),
        running("sync", tmp_path, sync, *options, *nobody) as process,
        connected(sync),
    ):
        base = f"http://{http}"
        before = resident_bytes(process.pid)
        answered = await asyncio.to_thread(_fuzz, base)
        async with httpx.AsyncClient(base_url=base) as client:
            answered += [
                (
                    await client.request(method, path, content=body, headers={"content-type": "application/json"})
                ).status_code
                for method in ("GET", "POST", "PUT")
                for path in (*_PATHS, "/v1/orders", "/v1/orders/a:accept")
                for body in _BODIES
            ]
        assert process.returncode is None
        assert resident_bytes(process.pid) - before < _GROWTH_BYTES_MAX
    assert len(answered) >= _REQUESTS
    assert not {status for status in answered if status == 500}
    assert {200, 400, 404} <= set(answered)


def _fuzz(base: str) -> list[int]:
    """Goes round all operations until enough has been sent: what takes little has few requests in it at a time."""
    schema: OpenApiSchema = schemathesis.openapi.from_url(f"{base}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    calls = [operation for operation in operations if operation.path != "/v1/events"]  # that one does not end
    kinds = [(call, mode) for call in calls for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
    answered: list[int] = []
    while len(answered) < _REQUESTS:
        share = 1 + (_REQUESTS - len(answered)) // len(kinds)
        for call, mode in kinds:
            answered += _answers(call.as_strategy(generation_mode=mode), share)
    return answered


def _answers(cases: SearchStrategy[Case[Any]], requests: int) -> list[int]:
    answered: list[int] = []

    @settings(max_examples=requests, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def send(case: Case[Any]) -> None:
        answer = case.call(headers={"grpc-timeout": "2S"}, timeout=30)
        answered.append(answer.status_code)
        assert answer.status_code != 500, case.as_curl_command()

    with suppress(Unsatisfiable):  # what takes anything has no negative
        send()
    return answered
