"""`python -m order.new_epoch`: what `stateset log new-epoch` runs on the database of a stopped Order Service."""

import asyncio
import sys
import uuid

from sqlalchemy import Connection

from infra.runtime.clock import SystemClock
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.lifespan import StartupError, run
from infra.runtime.sql import open_database, refuse_in_use, shown
from order.adapters.sql_epoch import NewEpoch, begin_epoch
from order.main import MIGRATIONS
from order.settings import OrderSettings


def main() -> int:
    """Runs it on the database that the settings name; the exit code."""

    async def start(stop: asyncio.Event) -> None:
        settings = OrderSettings.load(sys.argv[1:])
        done = await renew(settings.database, stop)
        sys.stdout.write(
            f"The log's epoch is {done.after} now; it was {done.before}.\n"
            f"Events that carry it: {done.events}; stored replies: {done.replies}; subscriptions to the log that were "
            f"forgotten: {done.readers}.\n"
        )

    return run(start)


async def renew(url: str, stop: asyncio.Event) -> NewEpoch:
    """Gives the log another epoch, in one transaction.

    Args:
        url: Of the Order Service's database.
        stop: Gives up when it is set.

    Raises:
        StartupError: There is no such database, or it is in use, or the log cannot be changed. The log is as it was.
    """
    log_epoch, now_us = str(uuid.uuid4()), SystemClock().now_us()

    def work(connection: Connection) -> NewEpoch:
        refuse_in_use(connection, "order")
        return begin_epoch(connection, log_epoch, now_us, stop.is_set)

    async with open_database(url, service="order", migrations=MIGRATIONS, must_exist=True) as database:
        try:
            return await database.write(work)
        except DatabaseUnavailableError as error:
            # If it was the answer to the commit that was lost, one more epoch does no harm.
            raise StartupError(f"cannot use {shown(url)} ({error}): try again") from error


if __name__ == "__main__":
    sys.exit(main())
