"""A whole system on this machine for faults to happen to, and the verdict on it afterwards."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from consumers.cli.arguments import EMBEDDED_POSTGRES, SHARDS, SQLITE
from consumers.cli.bus import direct
from consumers.cli.database import LocalPostgres
from consumers.cli.demo.proof import Work, prove
from consumers.cli.preflight import prepare
from consumers.cli.system import LOGS, Kafka, Plan, open_system
from infra.runtime.postgres import server as postgres_server
from infra.runtime.sqlite import url_of
from infra.runtime.topics import EVENTS
from tests.harness.e2e_beneath import need_postgres, own_kafka
from tests.harness.faults import Campaign, Fault, Nobody, Progress, Victim, orders_for, schedule, seed, times
from tests.harness.kafka_records import headers_of, read_topic
from tests.harness.ports import free_system
from tests.harness.tcp_proxy import CommitCutter

_COMMANDS_APART: Final = 90  # the replay has those of 64 orders under way


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running system.

    Attributes:
        plan: Where it lives.
        seed: Decides what happens when.
        victims: Its processes by name.
        progress: Of the replay.
        commits: What stands between the services and PostgreSQL.
    """

    plan: Plan
    seed: int
    victims: Mapping[str, Victim]
    progress: Progress
    commits: CommitCutter

    @property
    def kafka(self) -> Kafka:
        """The bus of a system that has one."""
        assert self.plan.kafka is not None
        return self.plan.kafka

    @property
    def orders(self) -> str:
        """The URL of the order database, past whatever stands before it."""
        if self.plan.postgres is not None:
            return self.postgres.url
        return url_of(self.plan.data_dir / "order.db")

    @property
    def postgres(self) -> LocalPostgres:
        """The database server of a system that has one."""
        assert self.plan.postgres is not None
        assert self.plan.postgres.server is not None
        return self.plan.postgres.server

    def published(self) -> dict[int, list[tuple[int, str]]]:
        """By partition the seq and the log epoch of every record that others are given, to the very end."""
        records = read_topic(self.kafka.cluster.servers, EVENTS.name(self.kafka.topic_prefix), SHARDS)
        return {
            partition: [(int(headers["ce_sequence"]), headers["ce_logepoch"]) for headers in map(headers_of, each_of)]
            for partition, each_of in records.items()
        }


@asynccontextmanager
async def running_system(*, kafka: bool, postgres: bool) -> AsyncIterator[System]:
    """A system of its own, all of it serving. Its folder is kept if the test fails, since the logs are in it."""
    if postgres:
        need_postgres()
    # Not below pytest's own folder: that is root's alone, and PostgreSQL does not run as root.
    folder = _public_folder()
    bus = own_kafka(folder) if kafka else direct("as asked")
    commits = CommitCutter()
    with prepare(folder, free_system(), bus, database=EMBEDDED_POSTGRES if postgres else SQLITE) as prepared:
        async with AsyncExitStack() as stack:
            plan = prepared
            if plan.postgres is not None and plan.postgres.server is not None:
                port = await stack.enter_async_context(commits.listening(plan.postgres.server.port))
                plan = replace(plan, postgres=replace(plan.postgres, url=postgres_server.url(port)))
            children = await stack.enter_async_context(open_system(plan, print))
            victims = {name: Victim(child) for name, child in children.items()}
            yield System(plan=plan, seed=seed(), victims=victims, progress=Progress(), commits=commits)
    shutil.rmtree(folder)


def _public_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="stateset-faults-"))
    folder.chmod(0o755)
    print(f"The services' logs are in {folder / LOGS}, and stay there if the test fails.")  # noqa: T201 - as below
    return folder


async def survive(system: System, faults: Sequence[Fault]) -> None:
    """Replays orders while each fault happens several times, and asserts that the demo's report is right afterwards."""
    each = times()
    work = await Work.load(orders_for(sum(fault.times(each) for fault in faults), apart=_COMMANDS_APART))
    due = schedule(system.seed, work.commands, faults, each, apart=_COMMANDS_APART)
    announce(system, due, work.commands)

    async with asyncio.TaskGroup() as tasks:
        campaign = Campaign(due, work.commands, system.progress, tasks, Nobody())
        proof = await prove(work, system.plan, speed=None, after_command=campaign.after_command, tell=print)

    assert campaign.happened == {fault.name: fault.times(each) for fault in faults}, campaign.happened
    wrong = [check for check in proof.checks if not check.ok]
    assert not wrong, wrong
    await asyncio.to_thread(check_topic, system, proof.events)
    check_deaths(system)


def announce(system: System, due: Sequence[tuple[int, Fault]], commands: int) -> None:
    """Says what is going to happen, and how it can be played again."""
    said = "; ".join(f"{fault.name} after {at}" for at, fault in due)
    print(f"Of {commands} commands: {said}; again with SEED={system.seed}")  # noqa: T201 - the only way to play it again


def check_deaths(system: System) -> None:
    """Nobody died by himself."""
    for name, victim in system.victims.items():
        # A PostgreSQL that was killed leaves sessions behind, and may refuse to start until they are gone.
        expected = victim.child.deaths if name == "postgres" else victim.ends
        assert victim.child.deaths == expected, f"{name} died by itself"


def check_topic(system: System, events: int) -> None:
    """The topic holds every event of the log once, in sequence, and nobody else's."""
    if system.plan.kafka is None:
        return
    published = system.published()
    seqs = {partition: [seq for seq, _ in records] for partition, records in published.items()}
    assert all(of == list(range(1, len(of) + 1)) for of in seqs.values()), f"not every seq once: {seqs}"
    assert sum(map(len, seqs.values())) == events, "the topic is not as long as the log"
    assert len({epoch for records in published.values() for _, epoch in records}) == 1, "another log has written"
