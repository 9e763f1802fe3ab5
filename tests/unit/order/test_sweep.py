"""The sweep beside the commands: batch after batch, until nothing is left that is old enough."""

from structlog.testing import capture_logs

from infra.runtime.clock import ManualClock
from order.adapters.memory import MemoryLog
from order.application.sweep import BATCH_REPLIES_MAX, RETENTION_SECONDS, Sweep
from order.domain.errors import StoreUnavailableError
from tests.harness.waiting import eventually, eventually_async


async def test_old_replies_are_swept_while_the_service_runs_and_young_ones_stay() -> None:
    log, clock = MemoryLog(1), ManualClock()
    for number in range(BATCH_REPLIES_MAX + 1):
        await log.fence(("local", f"request-{number:03}"), clock.now_us())
    clock.advance(RETENTION_SECONDS + 1)
    await log.fence(("local", "request-young"), clock.now_us())

    async def is_swept() -> bool:
        return await log.read_reply(("local", f"request-{BATCH_REPLIES_MAX}")) is None

    async with Sweep(log, clock).running():
        await eventually_async(is_swept)
    assert await log.read_reply(("local", "request-young")) is not None


class AwayLog(MemoryLog):
    """A log whose database is away."""

    async def forget_replies(self, before_us: int, replies_max: int) -> int:
        raise StoreUnavailableError(f"not {replies_max} of those before {before_us}")


async def test_a_database_that_is_away_costs_a_sweep_one_line() -> None:
    clock = ManualClock()
    with capture_logs() as told:
        async with Sweep(AwayLog(1), clock).running():
            await eventually(lambda: bool(told))
    assert told == [
        {
            "event": "sweep failed, trying again later",
            "log_level": "warning",
            "error": f"not {BATCH_REPLIES_MAX} of those before {clock.now_us() - RETENTION_SECONDS * 1_000_000}",
        }
    ]
