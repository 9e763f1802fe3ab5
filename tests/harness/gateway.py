"""The whole system in the test's own event loop, on files and ports of its own, and its gateway."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from consumers.analytics.main import serve as serve_analytics
from consumers.analytics.settings import AnalyticsSettings
from consumers.portfolio.main import serve as serve_portfolio
from consumers.portfolio.settings import PortfolioSettings
from consumers.risk.main import serve as serve_risk
from consumers.risk.settings import RiskSettings
from order.main import serve as serve_order
from order.settings import OrderSettings
from sync.main import serve as serve_sync
from sync.settings import SyncSettings
from tests.harness.ports import HOST, free_address, free_ports
from tests.harness.sync_process import connected

NAMES = ("order", "sync", "risk", "portfolio", "analytics")


@dataclass(frozen=True, slots=True)
class System:
    """A running system: by name where it serves gRPC, and a client of its gateway."""

    grpc: dict[str, str]
    http_address: str
    http: httpx.AsyncClient


@asynccontextmanager
async def running_system(folder: Path, **sync_settings: Any) -> AsyncIterator[System]:  # noqa: ANN401 - any setting
    """All services, serving; stopped and drained when the context ends."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    grpc = {name: f"{HOST}:{port}" for name, port in ports.items()}
    http_address = free_address()
    stop = asyncio.Event()

    def own(name: str) -> dict[str, Any]:
        return {
            "database": f"sqlite:///{folder}/{name}.db",
            "grpc_address": grpc[name],
            "admin_address": free_address(),
        }

    others = {f"{name}_address": grpc[name] for name in NAMES if name != "sync"}
    sync = SyncSettings(**{**own("sync"), **others, **sync_settings}, http_address=http_address)
    upstream: dict[str, Any] = {"sync_address": grpc["sync"]}
    services: list[tuple[str, Coroutine[Any, Any, None]]] = [
        ("order", serve_order(OrderSettings(**own("order"), shards=3), stop)),
        ("sync", serve_sync(sync, stop)),
        ("risk", serve_risk(RiskSettings(**own("risk"), **upstream), stop)),
        ("portfolio", serve_portfolio(PortfolioSettings(**own("portfolio"), **upstream), stop)),
        ("analytics", serve_analytics(AnalyticsSettings(**own("analytics"), **upstream), stop)),
    ]
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        stack.callback(stop.set)
        for name, service in services:  # one after the other: alembic serves one migration of a process at a time
            tasks.create_task(service, name=name)
            await stack.enter_async_context(connected(grpc[name]))
        client = httpx.AsyncClient(base_url=f"http://{http_address}", timeout=30)
        yield System(grpc, http_address, await stack.enter_async_context(client))
