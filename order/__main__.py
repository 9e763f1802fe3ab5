"""`python -m order`."""

import asyncio
import sys

from infra.runtime.lifespan import run
from infra.runtime.log import configure_log
from order.main import serve
from order.settings import OrderSettings


def main() -> int:
    """Runs the service; the exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = OrderSettings.load(sys.argv[1:])
        configure_log("order", level=settings.log_level)
        await serve(settings, stop)

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
