"""One proof: the replay, the wait until all have caught up, and every figure from both sides."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

from consumers.cli.demo.baskets import Basket, find_transactions, read_baskets
from consumers.cli.demo.checks import Check, checks
from consumers.cli.demo.commands import commands
from consumers.cli.demo.expected import expected
from consumers.cli.demo.figures import Figures, Skipped
from consumers.cli.demo.observed import observe
from consumers.cli.demo.published import Published
from consumers.cli.demo.replay import Replay
from consumers.cli.demo.services import catch_up, connect, log_head
from consumers.cli.system import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be replayed, and what must come of it.

    Attributes:
        baskets: Those that become orders.
        figures: The totals that they must lead to.
        skipped: What of the input cannot be ordered.
    """

    baskets: Sequence[Basket]
    figures: Figures
    skipped: Skipped

    @classmethod
    async def load(cls, orders: int) -> Self:
        """The first `orders` baskets of the year.

        Raises:
            StartupError: The demo's data is not installed.
        """
        file = find_transactions()
        baskets = await asyncio.to_thread(read_baskets, file, orders)
        figures, skipped = await asyncio.to_thread(expected, file, orders)
        return cls(baskets=[basket for basket in baskets if basket.lines], figures=figures, skipped=skipped)

    @property
    def commands(self) -> int:
        """How many commands the replay sends."""
        return sum(1 for basket in self.baskets for _ in commands(basket))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a replay led to.

    Attributes:
        events: Events in the log.
        seconds: From the first command until every service had caught up.
        checks: Every figure, expected and actual.
    """

    events: int
    seconds: float
    checks: Sequence[Check]


async def prove(
    work: Work,
    plan: Plan,
    *,
    speed: float | None,
    after_command: Callable[[int], Awaitable[None]],
    tell: Callable[[str], None],
) -> Proof:
    """Replays the work through the services of the plan, which run, waits, and compares.

    Raises:
        ExceptionGroup: Out of the replay; see `Replay.run`.
        DemoError: A service did not catch up, a stream did not reach the head of the log, or Kafka said no.
        StateSetError: The Order Service refused, or did not answer in time.
        grpc.aio.AioRpcError: The same of another service.
    """
    async with connect(plan.grpc) as services:
        started = time.monotonic()
        await Replay(services.client, speed=speed, after_command=after_command).run(work.baskets)
        tell("Replayed. Waiting until everybody has caught up.")
        head = await log_head(services)
        positions = await catch_up(services, head.next_seq)
        seconds = time.monotonic() - started
        tell("All have caught up. Comparing.")
        published = None
        if plan.kafka is not None:
            published = await Published.read(plan.kafka.cluster, plan.kafka.topics, head)
        seen = await observe(services, head, positions, published)
    return Proof(events=seen.figures.events, seconds=seconds, checks=checks(work.figures, seen))
