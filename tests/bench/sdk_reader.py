"""One subscriber of the Python client that decodes every event, in a process of its own.

It reads from the earliest event, and prints one JSON object: the events of a stretch of time, and its own CPU time.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Final

from stateset_client import EARLIEST, Subscription

from tests.bench.rounds import WARM_UP_SECONDS

_TAKE_EVENTS_MAX: Final = 5_000


async def _read(subscription: Subscription, seconds: float) -> int:
    """Takes what has arrived for so long, and reads a field of each event; how many there were."""
    deadline = time.perf_counter() + seconds
    events = 0
    while time.perf_counter() < deadline:
        for batch in (await subscription.take(events_max=_TAKE_EVENTS_MAX)).batches:
            for event in batch.events:
                if not event.order_id:
                    raise AssertionError(event)
            events += len(batch.events)
    return events


async def _run(address: str, seconds: float) -> None:
    async with Subscription(address, "bench", start=EARLIEST) as subscription:
        await _read(subscription, WARM_UP_SECONDS)
        started, cpu = time.perf_counter(), time.process_time()
        events = await _read(subscription, seconds)
        taken = time.perf_counter() - started, time.process_time() - cpu
    sys.stdout.write(json.dumps({"events": events, "seconds": taken[0], "cpu_seconds": taken[1]}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.address, arguments.seconds))
