"""A log that is full before anybody reads it: the Order Service's own writer, without the wire in front."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final

from infra.kernel.position import Position
from infra.runtime.clock import SystemClock
from infra.runtime.sql import open_database
from order.adapters.sql_log import open_log
from order.adapters.wire import WireCodec
from order.application.heads import Heads
from order.application.ports import Submission
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Acceptance, Policy
from order.main import MIGRATIONS
from tests.bench.events import SHARDS
from tests.harness.orders import place, submission

EVENTS_PER_ORDER: Final = 2  # placed, and accepted
_GROUP_COMMANDS: Final = 2_000
_LINES: Final = (1, 2, 3)


async def fill(database: str, events: int) -> Position:
    """Writes so many events of orders that are accepted as they are placed; returns where the log then ends."""
    async with open_database(database, service="order", migrations=MIGRATIONS) as opened:
        log = await open_log(opened, SHARDS)
        heads = Heads(log.log_epoch, [head.next_seq for head in await log.heads()])
        limits = WriterLimits(group_commands_max=_GROUP_COMMANDS, gather_commands=_GROUP_COMMANDS)
        writer = Writer(
            log, WireCodec(log.log_epoch, SHARDS), heads, SystemClock(), limits, Policy(acceptance=Acceptance.AUTOMATIC)
        )
        async with writer.running():
            orders = _orders(events // EVENTS_PER_ORDER)
            while group := list(islice(orders, _GROUP_COMMANDS)):
                await asyncio.gather(*map(writer.submit, group))
        return heads.position


def _orders(count: int) -> Iterator[Submission]:
    for number in range(count):
        order_id = f"0199b1c0-0000-7000-9000-{number:012x}"
        yield submission(place(*_LINES, order_id=order_id), request_id=f"request-{number}")
