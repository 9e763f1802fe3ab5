"""`stateset demo`: up, replay, wait, verify, report, stop."""

import asyncio
import os
import secrets
import shutil
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

import grpc.aio
from stateset_client import StateSetError

from consumers.cli.bus import choose_bus
from consumers.cli.console import complain, first, say
from consumers.cli.database import Postgres
from consumers.cli.demo.failure import DemoError
from consumers.cli.demo.own_database import own_database
from consumers.cli.demo.progress import progress
from consumers.cli.demo.proof import Proof, Work, prove
from consumers.cli.demo.report import Report, open_console, show, write_json
from consumers.cli.own_topics import own_topics_advised
from consumers.cli.preflight import ANY_PORTS, prepare, refuse_unwritable
from consumers.cli.system import LOGS, SERVICES, Plan, open_system
from infra.runtime.lifespan import run
from infra.runtime.supervisor import Child

REPORT: Final = "demo-report.json"
_FOLDER: Final = "demo"
_OPTIONS: Final = {"order": ("--acceptance", "manual")}  # the replay accepts, whatever the environment says
_DATABASE_SUFFIXES: Final = ("", "-wal", "-shm", ".lock")


def main(options: Namespace) -> int:
    """Runs the command; returns its exit code: 0 only if every check holds."""
    reports: list[Report] = []
    advice: list[str] = []

    async def serve(stop: asyncio.Event) -> None:
        reports.append(await _until(stop, options, advice.append))

    code = 1
    try:
        code = run(serve)
    except* (DemoError, StateSetError, grpc.aio.AioRpcError) as failures:
        complain(f"demo: {_said(failures)}; the services' logs are in {options.data_dir / _FOLDER / LOGS}")
    for line in advice:
        complain(line)
    if code or not reports:
        return code or 1
    [report] = reports
    write_json(report, options.data_dir / REPORT)
    show(report, open_console())
    wrong = sum(not check.ok for check in report.checks)
    say(f"{wrong} checks do not hold." if wrong else f"All {len(report.checks)} checks hold.")
    say(f"Report: {options.data_dir / REPORT}")
    return 1 if wrong else 0


async def _until(stop: asyncio.Event, options: Namespace, advise: Callable[[str], None]) -> Report:
    """The demo, ended early by `stop`."""
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_interrupt(stop), name="interrupt")
        report = await _demo(options, advise)
        watch.cancel()
    return report


async def _interrupt(stop: asyncio.Event) -> None:
    await stop.wait()
    raise DemoError("stopped before the end")


async def _demo(options: Namespace, advise: Callable[[str], None]) -> Report:
    bus = choose_bus(options.bus, options.data_dir, os.environ)
    refuse_unwritable(options.data_dir)  # the report belongs there
    work = await Work.load(options.orders)
    # On a Kafka that others use, a log of one run has topics of one run.
    prefix = f"demo-{secrets.token_hex(4)}." if bus.cluster else ""
    folder, database = options.data_dir / _FOLDER, options.database
    workers = options.order_workers
    with prepare(folder, ANY_PORTS, bus, topic_prefix=prefix, database=database, order_workers=workers) as prepared:
        _clear(prepared)
        (options.data_dir / REPORT).unlink(missing_ok=True)
        say(bus.line)
        with own_topics_advised(prepared, advise):
            async with _apart(prepared) as plan, open_system(plan, say) as children:
                proof = await _prove(work, plan, options.speed)
                return _report(work, proof, children, plan)


@asynccontextmanager
async def _apart(plan: Plan) -> AsyncIterator[Plan]:
    """The plan on a database of the demo's own, and in the end without its topics, where others have theirs, too."""
    async with AsyncExitStack() as stack:
        if plan.postgres is not None and plan.postgres.server is None:
            url = await stack.enter_async_context(own_database(plan.postgres.url))
            plan = replace(plan, postgres=Postgres(url=url))
        if plan.kafka is not None and plan.kafka.broker is None:
            stack.push_async_callback(plan.kafka.admin().delete)
        yield replace(plan, options=_OPTIONS)


async def _prove(work: Work, plan: Plan, speed: float | None) -> Proof:
    say(f"Replaying {len(work.baskets)} orders, {work.commands} commands, over gRPC at {plan.grpc['order']}.")
    with progress(open_console(), work.commands) as update:

        async def after_command(answered: int) -> None:
            update(answered)

        return await prove(work, plan, speed=speed, after_command=after_command, tell=say)


def _report(work: Work, proof: Proof, children: Mapping[str, Child], plan: Plan) -> Report:
    return Report(
        bus="direct" if plan.kafka is None else "kafka",
        database="sqlite" if plan.postgres is None else "postgresql",
        orders=len(work.baskets),
        events=proof.events,
        seconds=proof.seconds,
        skipped=work.skipped,
        restarts=sum(child.deaths for child in children.values()),
        checks=proof.checks,
    )


def _clear(plan: Plan) -> None:
    """Removes what an earlier demo left: databases that were checked to be ours, a broker's records, and logs."""
    for service in SERVICES if plan.postgres is None else ():
        file = plan.file(service)
        for suffix in _DATABASE_SUFFIXES:
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    if plan.postgres is not None and plan.postgres.server is not None:
        plan.postgres.server.remove()
    if plan.kafka is not None and plan.kafka.broker is not None:
        plan.kafka.broker.remove()
    shutil.rmtree(plan.data_dir / LOGS, ignore_errors=True)


def _said(failures: BaseExceptionGroup[Exception]) -> str:
    """The first failure in one line."""
    error = first(failures)
    match error:
        case StateSetError():
            return f"the Order Service answered {error}"
        case grpc.aio.AioRpcError():
            return f"a service answered {error.code().name}: {error.details()}"
        case _:
            return str(error)
