"""`stateset up`: everything on this machine until Ctrl-C."""

import asyncio
import os
from argparse import Namespace
from collections.abc import Callable, Mapping

from consumers.cli.bus import choose_bus
from consumers.cli.console import complain, say
from consumers.cli.own_topics import own_topics_advised
from consumers.cli.preflight import Ports, prepare, refuse_another_log, unread_orders
from consumers.cli.system import SERVICES, Plan, open_system
from infra.runtime.lifespan import run


def main(options: Namespace) -> int:
    """Runs the command; returns its exit code."""
    advice: list[str] = []
    code = run(lambda stop: serve(options, stop, advice.append))
    for line in advice:
        complain(line)
    return code


async def serve(options: Namespace, stop: asyncio.Event, advise: Callable[[str], None]) -> None:
    """Runs the system until `stop` is set, which may be while it still starts; advises on what cannot be started."""
    async with asyncio.TaskGroup() as group:
        system = group.create_task(_keep_up(options, advise), name="system")
        await stop.wait()
        say("Stopping.")
        system.cancel()
    say("Stopped.")


async def _keep_up(options: Namespace, advise: Callable[[str], None]) -> None:
    bus = choose_bus(options.bus, options.data_dir, os.environ)
    with prepare(
        options.data_dir,
        _ports(options),
        bus,
        topic_prefix=options.topic_prefix,
        database=options.database,
        order_workers=options.order_workers,
    ) as plan:
        refuse_another_log(plan)
        say(bus.line)
        say(f"data: {plan.data_dir}")
        if unread := unread_orders(plan):
            say(unread)
        with own_topics_advised(plan, advise):
            await _run(plan)


async def _run(plan: Plan) -> None:
    async with open_system(plan, say, broker_may_be_away=True) as children:
        for service in SERVICES:
            for worker in plan.workers(service):
                say(f"{worker.name:<10} gRPC {plan.grpc[service.name]}   http://{worker.admin}/metrics")
        say(f"{'gateway':<10} http://{plan.http}   HTTP/JSON, events and WebSocket; /docs shows them")
        if plan.postgres is not None:
            say(f"{'postgres':<10} {plan.postgres.shown}   a schema stateset_… for each service")
        if plan.kafka is not None:
            say(f"{'kafka':<10} {plan.kafka.cluster.servers}   topics {', '.join(plan.kafka.topics)}")
        say(standing({name: child.ready.is_set() for name, child in children.items()}))
        await asyncio.Event().wait()  # until cancelled


def standing(ready: Mapping[str, bool]) -> str:
    """The line that says how the start went: one that was ready may have ended again before the last one was."""
    if down := [name for name, is_ready in ready.items() if not is_ready]:
        return f"All were up, but {', '.join(down)} ended again: see above. Ctrl-C stops the rest."
    return "Everything is up. Ctrl-C stops it."


def _ports(options: Namespace) -> Ports:
    return Ports(
        grpc={service.name: getattr(options, f"{service.name}_port") for service in SERVICES},
        admin={service.name: getattr(options, f"{service.name}_admin_port") for service in SERVICES},
        http=options.http_port,
        kafka=options.kafka_port,
        postgres=options.postgres_port,
    )
