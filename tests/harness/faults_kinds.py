"""What goes wrong: each kind of fault that is more than a process that is killed."""

import asyncio
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from consumers.cli.arguments import SHARDS
from consumers.cli.system import LOGS, SERVICES
from infra.runtime.lifespan import EXIT_UNUSABLE, StartupError
from infra.runtime.supervisor import supervise
from tests.harness.faults import RESTART_SECONDS, Fault, Progress, Victim
from tests.harness.faults_system import System
from tests.harness.ports import free_address
from tests.harness.tcp_link import Link
from tests.harness.tcp_proxy import Moment
from tests.harness.waiting import eventually, eventually_async

_AWAY_COMMANDS = 10
_AWAY_SECONDS = (1.0, 4.0)
_BUSY_COMMANDS = 20
_METRICS_SECONDS = 1.0
_RESTARTS_SHARE = 0.4  # each keeps all others waiting until it is over


def frozen(system: System, name: str) -> Fault:
    """The process is frozen and thawed after a while, in which commands have gone on."""
    victim = system.victims[name]
    drawn = random.Random(system.seed)  # noqa: S311 - the seed is the point

    async def long_enough() -> None:
        await system.progress.goes_on(_AWAY_COMMANDS)
        await asyncio.sleep(drawn.uniform(*_AWAY_SECONDS))  # no wait for anything: the fault is as long as this

    return Fault(name=f"{name} is frozen", ready=victim.ready, strike=lambda: victim.freeze(long_enough))


def in_turn(strikes: Mapping[str, Callable[[], Awaitable[None]]], *, share: float = 1.0) -> list[Fault]:
    """Faults by name, none of which begins before the one before it is over."""
    turn = asyncio.Lock()

    async def ready() -> None:
        async with turn:
            pass

    def fault(name: str, hurt: Callable[[], Awaitable[None]]) -> Fault:
        async def strike() -> None:
            async with turn:
                await hurt()

        return Fault(name=name, ready=ready, strike=strike, share=share)

    return [fault(name, hurt) for name, hurt in strikes.items()]


def rolling_restart(victims: Iterable[Victim]) -> list[Fault]:
    """Each is asked to end and is started again, never two at once: so a release is rolled out."""

    async def restart(victim: Victim) -> None:
        await victim.restart()
        await victim.ready()

    restarts = {f"{victim.child.name} is restarted": partial(restart, victim) for victim in victims}
    return in_turn(restarts, share=_RESTARTS_SHARE)


def link_faults(link: Link) -> list[Fault]:
    """The connections over the link are cut, or go dead without a word; clients make new ones."""

    async def hurt(what: Callable[[], None]) -> None:
        before = link.connections
        what()
        await eventually(lambda: link.connections > before, within_seconds=RESTART_SECONDS)

    return in_turn({"the link is cut": partial(hurt, link.cut), "the link goes dead": partial(hurt, link.go_dead)})


def topics_deleted(system: System) -> Fault:
    """The topics are deleted with all that is in them, and made anew."""
    broker = system.victims["kafka"]

    async def reset() -> None:
        async def done() -> bool:
            try:
                await system.kafka.admin().reset()
            except StartupError:  # a broker that was away a moment ago: what it says is to try again
                return False
            return True

        await eventually_async(done, within_seconds=RESTART_SECONDS)

    return Fault(name="the topics are deleted", ready=broker.ready, strike=lambda: broker.disturb(reset))


def stranger(system: System) -> Fault:
    """An Order Service with another log is started on the topics: one line, exit code 2."""
    broker = system.victims["kafka"]

    async def start() -> None:
        async def is_ours() -> bool:
            return any((await asyncio.to_thread(system.published)).values())

        await eventually_async(is_ours, within_seconds=RESTART_SECONDS)
        code, said = await asyncio.to_thread(_start_stranger, system)
        assert code == EXIT_UNUSABLE, said
        [line] = [line for line in said.splitlines() if not line.startswith("{")]
        assert "stateset topics reset" in line

    return Fault(name="another log comes", ready=broker.ready, strike=lambda: broker.disturb(start))


def _start_stranger(system: System) -> tuple[int, str]:
    kafka = ("--kafka-bootstrap-servers", system.kafka.cluster.servers, "--topic-prefix", system.kafka.topic_prefix)
    addresses = ("--grpc-address", free_address(), "--admin-address", free_address())
    database = ("--database", f"sqlite:///{system.plan.data_dir}/stranger.db", "--shards", str(SHARDS))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "order", *kafka, *addresses, *database],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RESTART_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr


def postgres_killed(system: System) -> Fault:
    """SIGKILL to the server itself, below its keeper; its sessions die with it."""
    server = system.victims["postgres"]
    pid_file = system.postgres.folder / "postmaster.pid"

    async def strike() -> None:
        server.send(signal.SIGKILL, int(pid_file.read_text().split()[0]))

    return Fault(name="postgres is killed", ready=server.ready, strike=strike)


def commit_cut(system: System, service: str, moment: Moment) -> Fault:
    """The service's connection is lost in its COMMIT, before the server has heard of it or after it has done it."""
    application = f"stateset_{service}"

    async def ready() -> None:
        await system.victims[service].ready()
        await system.commits.idle(application)

    return Fault(
        name=f"a COMMIT of {service} is cut {moment} it is done",
        ready=ready,
        strike=lambda: system.commits.cut(application, moment),
    )


@dataclass(frozen=True, slots=True)
class Relays:
    """Two Order Services on one database, of which one publishes."""

    grpc: dict[str, str]
    admin: dict[str, str]
    victims: dict[str, Victim]
    progress: Progress
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ready(self) -> None:
        """Returns when both serve and one publishes."""
        async with self._turn:
            for victim in self.victims.values():
                await victim.ready()
            await self.until(lambda leading: len(leading) == 1)

    async def take_turns(self) -> None:
        """Freezes the one that publishes until the other does, then lets it go on and see that it is late."""
        async with self._turn:
            [first] = await self.leading()
            [second] = self.victims.keys() - {first}
            await self.progress.goes_on(_BUSY_COMMANDS)  # so that it is frozen with records on their way
            await self.victims[first].freeze(lambda: self.until(lambda leading: second in leading))
            await self.until(lambda leading: leading == {second})

    async def until(self, holds: Callable[[set[str]], bool]) -> None:
        """Returns when it holds for those who say that they publish."""

        async def check() -> bool:
            return holds(await self.leading())

        await eventually_async(check, within_seconds=RESTART_SECONDS)

    async def leading(self) -> set[str]:
        """Those who say that they publish. One that is frozen says nothing."""
        asked = [asyncio.to_thread(_leads, address) for address in self.admin.values()]
        return {name for name, leads in zip(self.admin, await asyncio.gather(*asked), strict=True) if leads}

    @property
    def fault(self) -> Fault:
        """For a campaign."""
        return Fault(name="the relay is frozen past its lease", ready=self.ready, strike=self.take_turns)


@asynccontextmanager
async def two_relays(system: System) -> AsyncIterator[Relays]:
    """A second Order Service beside the system's own, while the context lasts."""
    plan = replace(
        system.plan,
        grpc={**system.plan.grpc, "order": free_address()},
        admin={**system.plan.admin, "order": free_address()},
    )
    [order] = [service for service in SERVICES if service.name == "order"]
    grpc = {"order": system.plan.grpc["order"], "order-2": plan.grpc["order"]}
    admin = {"order": system.plan.admin["order"], "order-2": plan.admin["order"]}

    async def answers() -> bool:
        return await asyncio.to_thread(_metrics, admin["order-2"]) != ""

    [alone] = plan.workers(order)
    program = plan.program(order, replace(alone, name="order-2"), answers)
    async with supervise([program], logs=plan.data_dir / LOGS, tell=print) as children:
        victims = {"order": system.victims["order"], "order-2": Victim(children["order-2"])}
        yield Relays(grpc, admin, victims, system.progress)


def _leads(admin: str) -> bool:
    return "stateset_order_relay_leading 1.0" in _metrics(admin)


def _metrics(admin: str) -> str:
    """What the process tells Prometheus; nothing if it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=_METRICS_SECONDS) as reply:
            text: str = reply.read().decode()
            return text
    except OSError:
        return ""
