"""The timer, when some orders cannot be expired."""

from itertools import count, islice

from infra.kernel.shard import shard_of
from infra.runtime.clock import SystemClock
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.expiry import Expiry
from order.application.heads import Heads
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from tests.harness.orders import place, submission
from tests.harness.waiting import eventually_async

BROKEN, HEALTHY = 0, 1
MORE_THAN_AT_A_TIME = 70


async def test_orders_of_a_shard_that_takes_no_commands_keep_no_others_from_expiring() -> None:
    log, clock = MemoryLog(2), SystemClock()
    heads = Heads(log.log_epoch, [1, 1])
    writer = Writer(log, WireCodec(log.log_epoch, 2), heads, clock, WriterLimits(), Policy())
    second = 1_000_000
    async with writer.running():

        async def place_due(shard: int, orders: int, *, for_seconds: int) -> list[str]:
            ids = list(islice((each for n in count() if shard_of(each := f"o-{n}", 2) == shard), orders))
            for order_id in ids:
                due = place(1, order_id=order_id)._replace(expire_time_us=clock.now_us() - for_seconds * second)
                await writer.submit(submission(due))
            return ids

        await place_due(BROKEN, MORE_THAN_AT_A_TIME, for_seconds=10)
        [healthy] = await place_due(HEALTHY, 1, for_seconds=1)
        heads.advance({BROKEN: heads.position.next_seq[BROKEN] + 1})  # readers have seen an event that is not there

        async def is_expired() -> bool:
            due = await log.due_orders(clock.now_us(), 2 * MORE_THAN_AT_A_TIME)
            return healthy not in due and len(due) == MORE_THAN_AT_A_TIME

        async with Expiry(log, writer, clock).running():
            await eventually_async(is_expired)
