"""What the meter of lags keeps: the answers of one reading of the log's head, and no more."""

from infra.kernel.position import Position
from infra.runtime.clock import SystemClock
from infra.runtime.grpc.draining import Draining
from sync.application.freshness import Freshness
from sync.application.horizons import Horizons
from sync.application.lag import LagMeter
from sync.domain.frames import Grant
from sync.domain.lag import Standing
from sync.domain.log import LogHead
from sync.domain.ring import Ring
from tests.harness.sync_log import EPOCH, LogMaker


def test_on_a_log_that_stands_still_readers_that_stand_ever_differently_fill_no_memory() -> None:
    freshness = Freshness(Position(log_epoch=EPOCH, next_seq=(1,)), SystemClock(), Draining())
    ring = Ring((1,), ring_bytes_max=1 << 20)
    meter = LagMeter(Horizons(LogMaker(1).source, ring, freshness, SystemClock()), ring, freshness)
    horizons = set()
    for reading in range(1, 101):
        freshness.read(LogHead(log_epoch=EPOCH, next_seq=(1,), earliest_seq=(1,), read_time_us=reading), reading)
        credit = Grant(events=reading, bytes=1)
        assert meter.timeless(Standing((0,), (1,), None, credit)).credit_left == credit
        horizons.add(id(meter.horizon))
    assert len(meter._measured) == 1  # noqa: SLF001 - what it keeps is what this is about
    assert len(horizons) == 1
