"""`python -m consumers.portfolio`."""

import asyncio
import sys

from consumers.portfolio.main import serve
from consumers.portfolio.settings import PortfolioSettings
from infra.runtime.lifespan import run
from infra.runtime.log import configure_log


def main() -> int:
    """Runs the portfolio; returns its exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = PortfolioSettings.load(sys.argv[1:])
        configure_log("portfolio", level=settings.log_level)
        await serve(settings, stop)

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
