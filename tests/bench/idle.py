"""What ten thousand subscribers cost to whom nothing happens: memory, and the CPU time of their heartbeats."""

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Final

from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from tests.bench.effort import Effort
from tests.bench.fanout import await_filled
from tests.bench.grpc_call import CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_crowd import Crowd
from tests.bench.processes import BenchError, Server, run_server
from tests.bench.report import Reading
from tests.harness.memory import resident_bytes

SUBSCRIBE: Final = "/stateset.sync.v1.SyncService/Subscribe"
_EVENTS_PER_SHARD: Final = 1
_OPENED_MESSAGES: Final = 4  # Opened, CATCHING_UP, LIVE, and the first Progress
_OPEN_SECONDS: Final = 180.0
_HEARTBEAT_SECONDS: Final = 5.0  # the default: a stream is not idle if it is asked to speak more often


def idle(folder: Path, effort: Effort) -> Mapping[str, Reading]:
    """Idle `Subscribe` streams under the default heartbeat, 100 a connection.

    Raises:
        BenchError: Streams did not open, broke, or were left without a heartbeat.
    """
    number = effort.idle_subscribers
    ring = ("--events-per-shard", str(_EVENTS_PER_SHARD))
    bare = ("--heartbeat-seconds", str(_HEARTBEAT_SECONDS))
    try:
        with run_server("tests.bench.fanout_server", ring, folder / "sync.log") as server:
            await_filled(server.address, _EVENTS_PER_SHARD)
            before = resident_bytes(server.pid)
            shares, held = _measured(server, number, effort.rounds)
        with run_server("tests.bench.reference_idle", bare, folder / "reference.log") as server:
            bare_shares, _ = _measured(server, number, effort.rounds)
    except BrokenError as error:
        raise BenchError(f"an idle stream broke: {error}") from error
    mib = 1024 * 1024
    rests_on = {
        "subscribers": number,
        "heartbeat_s": _HEARTBEAT_SECONDS,
        "mib_before": round(before / mib),
        "bytes_a_subscriber": round((held - before) / number),
        "core_least": round(min(shares), 3),
        "core_greatest": round(max(shares), 3),
        "core_of_a_bare_server": round(median(bare_shares), 3),
    }
    caveat = "" if number == Effort().idle_subscribers else f"{number} subscribers"
    return {
        "idle_10k_subscribers_mib": Reading(
            value=held / mib, unit="MiB", goal=450, more_is_better=False, rests_on=rests_on, caveat=caveat
        ),
        "idle_10k_subscribers_core": Reading(
            value=median(shares), unit="core", goal=0.15, more_is_better=False, rests_on=rests_on, caveat=caveat
        ),
    }


def _measured(server: Server, streams: int, rounds: int) -> tuple[list[float], int]:
    """The server's share of a core, round by round, and its memory in the end."""
    with Crowd(_template(server.address), server.address, streams=streams) as crowd:
        _await_open(crowd)
        return [_cpu_share(server, crowd) for _ in range(rounds)], resident_bytes(server.pid)


def opening_request(heartbeat_seconds: float) -> bytes:
    """The first message of a stream that will be idle."""
    opening = stream_pb2.Open(
        start=stream_pb2.Start(point=stream_pb2.START_POINT_LATEST),
        credit=stream_pb2.Credit(events=10_000, bytes=8 << 20),
    )
    opening.heartbeat_interval.FromMilliseconds(round(1_000 * heartbeat_seconds))
    return sync_service_pb2.SubscribeRequest(frame=stream_pb2.ClientFrame(open=opening)).SerializeToString()


def _template(address: str) -> CallTemplate:
    request = opening_request(_HEARTBEAT_SECONDS)
    return CallTemplate(address, SUBSCRIBE, request, deadline_seconds=None, more_to_say=True)


def _await_open(crowd: Crowd) -> None:
    deadline = time.perf_counter() + _OPEN_SECONDS
    while min(crowd.messages) < _OPENED_MESSAGES:
        if time.perf_counter() > deadline:
            waiting = sum(count < _OPENED_MESSAGES for count in crowd.messages)
            raise BenchError(f"{waiting} streams are not open after {_OPEN_SECONDS:.0f} s")
        crowd.run(1.0)


def _cpu_share(server: Server, crowd: Crowd) -> float:
    """The server's share of a core over two heartbeats of every stream."""
    before, started, cpu = crowd.messages, time.perf_counter(), server.cpu_seconds()
    crowd.run(2 * _HEARTBEAT_SECONDS)
    share = (server.cpu_seconds() - cpu) / (time.perf_counter() - started)
    silent = sum(now == then for now, then in zip(crowd.messages, before, strict=True))
    if silent:
        raise BenchError(f"{silent} streams have heard nothing for two heartbeats")
    return share
