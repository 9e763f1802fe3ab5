"""Traffic on a whole system while things go wrong, and the verdict of the checker."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from stateset.order.v1.log_service_pb2 import GetDigestRequest as GetLogDigestRequest
from stateset.sync.v1.sync_service_pb2 import GetDigestRequest

from consumers.cli.demo.folded import Analytics, Portfolio, Risk
from consumers.cli.demo.services import Services as Readers
from consumers.cli.demo.services import catch_up, connect, log_head
from tests.guarantees.run import CAUGHT_UP_SECONDS, Services, traffic
from tests.harness.faults import Campaign, Fault, commands_for, schedule, times
from tests.harness.faults_projections import delete_projections
from tests.harness.faults_system import System, announce, check_deaths, check_topic
from tests.harness.waiting import eventually_async

_READ_SECONDS: Final = 30.0
_OPERATIONS_APART: Final = 45  # eight clients have sixteen under way at most


async def withstand(
    system: System,
    faults: Sequence[Fault],
    *others: str,
    sync: str = "",
    beside: AbstractAsyncContextManager[None] | None = None,
) -> None:
    """Sends traffic while each fault happens several times; asserts that no promise is broken and nobody stands still.

    Afterwards every projection is deleted and made anew, and has to be what it was.

    Args:
        system: Runs.
        faults: What goes wrong.
        others: Addresses of more Order Services on the same log.
        sync: Address by which the Sync Server is reached, if not its own.
        beside: Entered while the faults happen.
    """
    each = times()
    operations = commands_for(sum(fault.times(each) for fault in faults), apart=_OPERATIONS_APART)
    due = schedule(system.seed, operations, faults, each, apart=_OPERATIONS_APART)
    announce(system, due, operations)
    grpc = system.plan.grpc
    services = Services(
        order=(grpc["order"], *others), sync=sync or grpc["sync"], http=system.plan.http, database=system.orders
    )
    history = system.plan.data_dir / "history.jsonl"  # stays there with the logs if the test fails
    async with (
        traffic(services, history, seed=system.seed) as run,
        beside or nullcontext(),
        asyncio.TaskGroup() as tasks,
    ):
        campaign = Campaign(due, operations, system.progress, tasks, run.history)
        run.after_operation = campaign.after_command
        await run.perform(operations)
    assert campaign.happened == {fault.name: fault.times(each) for fault in faults}, campaign.happened
    assert not run.judged.anomalies, run.judged.anomalies
    await _check_projections(system)
    check_deaths(system)


async def _check_projections(system: System) -> None:
    async with connect(system.plan.grpc) as readers:
        head = await log_head(readers)
        await _check_topic(system, sum(head.next_seq) - len(head.next_seq))
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            await catch_up(readers, head.next_seq)
        kept = await _projections(readers)
        await delete_projections(system)
        await catch_up(readers, head.next_seq)
        assert await _projections(readers) == kept, "a projection that was made anew is another one"


async def _check_topic(system: System, events: int) -> None:
    """As soon as the relay has committed the last of them."""
    if system.plan.kafka is None:
        return

    async def complete() -> bool:
        return sum(map(len, (await asyncio.to_thread(system.published)).values())) >= events

    await eventually_async(complete, within_seconds=CAUGHT_UP_SECONDS)
    await asyncio.to_thread(check_topic, system, events)


async def _projections(readers: Readers) -> tuple[object, ...]:
    """All that readers of the log have made of it; the read model is proved to be the order database."""
    order = (await readers.client.get_digest(GetLogDigestRequest(), timeout_seconds=_READ_SECONDS)).digest
    sync = (await readers.sync.GetDigest(GetDigestRequest(), timeout=_READ_SECONDS)).digest
    assert (order.count, order.hash) == (sync.count, sync.hash), "the read model is not the order database"
    return await Portfolio.of(readers), await Risk.of(readers), await Analytics.of(readers), sync.hash
