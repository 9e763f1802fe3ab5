"""The admin port of a process: `/metrics` for Prometheus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, Histogram, start_http_server

from infra.runtime.lifespan import StartupError

LOOP_LAG = Histogram(
    "stateset_event_loop_lag_seconds",
    "How late the event loop ran a timer: for so long nothing else was served.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
_LAG_PERIOD_SECONDS = 0.2  # a scrape sees the worst moments of its interval, not the last one


@asynccontextmanager
async def open_admin(address: str) -> AsyncIterator[WSGIServer]:
    """Serves `/metrics` on its own thread and measures the event loop's lag while the context lasts.

    Raises:
        StartupError: The address is in use.
    """
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host, registry=REGISTRY)
    except OSError as error:
        raise StartupError(
            f"address {address} is not free: stop what listens there, or choose another with --admin-address"
        ) from error
    lag = asyncio.create_task(_measure_loop_lag(), name="loop-lag")
    try:
        yield server
    finally:
        lag.cancel()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


async def _measure_loop_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PERIOD_SECONDS
        await asyncio.sleep(_LAG_PERIOD_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))
