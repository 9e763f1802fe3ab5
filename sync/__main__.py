"""`python -m sync`."""

import asyncio
import sys

from infra.runtime.lifespan import run
from infra.runtime.log import configure_log
from sync.main import serve
from sync.settings import SyncSettings


def main() -> int:
    """Runs the Sync Server; returns its exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = SyncSettings.load(sys.argv[1:])
        configure_log("sync", level=settings.log_level)
        await serve(settings, stop)

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
