"""`python -m consumers.risk`."""

import asyncio
import sys

from consumers.risk.main import serve
from consumers.risk.settings import RiskSettings
from infra.runtime.lifespan import run
from infra.runtime.log import configure_log


def main() -> int:
    """Runs Risk; returns its exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = RiskSettings.load(sys.argv[1:])
        configure_log("risk", level=settings.log_level)
        await serve(settings, stop)

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
