"""`python -m consumers.analytics`."""

import asyncio
import sys

from consumers.analytics.main import serve
from consumers.analytics.settings import AnalyticsSettings
from infra.runtime.lifespan import run
from infra.runtime.log import configure_log


def main() -> int:
    """Runs Analytics; returns its exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = AnalyticsSettings.load(sys.argv[1:])
        configure_log("analytics", level=settings.log_level)
        await serve(settings, stop)

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
