"""`stateset watch`: one line for each event, until Ctrl-C."""

import asyncio
from argparse import Namespace
from typing import Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import OrderState
from stateset_client import EARLIEST, LATEST, EventStream, StateSetError

from consumers.cli.console import complain, first, say
from consumers.cli.refusals import told, unanswered
from infra.runtime.lifespan import StartupError, run

_OPEN_SECONDS: Final = 10.0


def main(options: Namespace) -> int:
    """Follows the events; returns the exit code."""
    code = 1
    try:
        code = run(lambda stop: watch(options, stop))
    except* StateSetError as errors:
        complain(told(first(errors), service="Sync Server", address=options.address))
    return code


async def watch(options: Namespace, stop: asyncio.Event) -> None:
    """Prints events until `stop` is set.

    Raises:
        StartupError: Nobody answers at the address.
        ExceptionGroup: The server refused the stream.
    """
    async with asyncio.TaskGroup() as group:
        follow = group.create_task(_follow(options), name="follow")
        await stop.wait()
        follow.cancel()


async def _follow(options: Namespace) -> None:
    start = EARLIEST if options.from_start else LATEST
    async with EventStream(options.address, start=start, filter=options.filter) as stream:
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await stream.opened()
        except TimeoutError as error:
            raise StartupError(unanswered(options.address)) from error
        async for batch in stream:
            for event in batch.events:
                say(line(event))


def line(event: OrderEvent) -> str:
    """The event in one line."""
    when = event.metadata.record_time.ToDatetime().isoformat(timespec="milliseconds")
    change = event.metadata.type.rpartition(".")[2]
    state = OrderState.Name(event.state).removeprefix("ORDER_STATE_")
    return f"{when}Z  {event.shard}:{event.seq}  {change:<18} {event.order_id}  v{event.version}  {state}"
