"""How many events a second one process of the Python client decodes, from the Sync Server's ring."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.effort import Effort
from tests.bench.events import EVENT_BYTES, SHARDS
from tests.bench.fanout import await_filled
from tests.bench.processes import BenchError, run_server
from tests.bench.report import Reading
from tests.bench.rounds import WARM_UP_SECONDS

_EVENTS_PER_SECOND_MAX: Final = 600_000  # the ring must not run out within a round
_END_SECONDS: Final = 60.0


def client_events(folder: Path, effort: Effort) -> Mapping[str, Reading]:
    """Events of `EVENT_BYTES` to one `Subscription` under its usual credit; each round is a process of its own.

    Raises:
        BenchError: The server did not start, or the subscriber did not come to its end.
    """
    per_shard = round((WARM_UP_SECONDS + effort.seconds) * _EVENTS_PER_SECOND_MAX / SHARDS)
    ring = ("--events-per-shard", str(per_shard))
    with run_server("tests.bench.fanout_server", ring, folder / "sync.log") as server:
        await_filled(server.address, per_shard)
        rounds = [_round(server.address, effort.seconds) for _ in range(effort.rounds)]
    rates = [each["events"] / each["seconds"] for each in rounds]
    rests_on = {
        "event_bytes": EVENT_BYTES,
        "rounds": effort.rounds,
        "least": round(min(rates)),
        "greatest": round(max(rates)),
        "client_cpu_us_per_event": round(median(1e6 * each["cpu_seconds"] / each["events"] for each in rounds), 2),
        "client_cpu_share": round(median(each["cpu_seconds"] / each["seconds"] for each in rounds), 2),
    }
    return {
        "client_events_per_s": Reading(
            value=median(rates), unit="events/s", goal=150_000, more_is_better=True, rests_on=rests_on
        )
    }


def _round(address: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.sdk_reader", "--address", address, "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _END_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"the subscriber has not ended after {error.timeout:.0f} s") from error
    if done.returncode != 0:
        raise BenchError(f"the subscriber failed: {(done.stderr.strip().splitlines() or ['silently'])[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
