"""When a stream tells its lag: whenever that is another one, and by whatever it became so."""

from dataclasses import replace

from sync.domain.frames import Grant, Lag
from sync.domain.lag import Horizon, Standing, lag_of
from sync.domain.session import Session
from sync.domain.subscription import AckOutcome, AckStatus
from tests.unit.sync.test_session import ONE_CUSTOMER, TERMS, Bench


class Meter:
    """Of a log that ends where it is told to."""

    def __init__(self) -> None:
        self.horizon = Horizon(heads=(1,), earliest=(1,), here=(1,))
        self.measured = 0

    def of(self, standing: Standing) -> Lag:
        return replace(self.timeless(standing), time_us=0)

    def timeless(self, standing: Standing) -> Lag:
        self.measured += 1
        return lag_of(standing, self.horizon, "")


class Metered(Bench):
    """A session that beats at every reading."""

    def __init__(self, filter_text: str = "") -> None:
        super().__init__(filter_text=filter_text)
        self.meter = Meter()
        terms = replace(TERMS, credit=Grant(events=9, bytes=1 << 20), floors=(1,), selection=self.session.selection)
        self.session = Session(terms, self.fanout, now=0, meter=self.meter)
        self.now = 0.0
        self.lags()

    def lags(self) -> list[Lag]:
        self.now += TERMS.heartbeat_seconds
        return [frame for frame in self.read(now=self.now) if isinstance(frame, Lag)]


def test_a_stream_to_which_nothing_happens_is_not_even_measured() -> None:
    bench = Metered()
    measured = bench.meter.measured
    assert [bench.lags() for _ in range(3)] == [[]] * 3
    assert bench.meter.measured == measured


def test_a_lag_is_told_at_the_next_heartbeat_when_the_log_has_moved() -> None:
    bench = Metered()
    bench.meter.horizon = Horizon(heads=(4,), earliest=(1,), here=(1,))
    assert [lag.events for lag in bench.lags()] == [3]


def test_a_lag_is_told_at_the_next_heartbeat_when_credit_was_granted() -> None:
    bench = Metered()
    bench.session.grant(Grant(events=1, bytes=0))
    assert [lag.credit_left for lag in bench.lags()] == [Grant(events=10, bytes=1 << 20)]


def test_a_lag_is_told_at_the_next_heartbeat_when_events_were_sent_and_when_they_are_acked() -> None:
    bench = Metered()
    bench.publish(2)
    bench.read(now=bench.now)
    assert [lag.unacked for lag in bench.lags()] == [2]
    bench.session.acking.pending += 1
    bench.session.acking.acked("a", AckOutcome(status=AckStatus.COMMITTED, floors={0: 3}))
    assert [lag.unacked for lag in bench.lags()] == [0]


def test_a_lag_is_told_at_the_next_heartbeat_when_events_were_passed_over() -> None:
    bench = Metered(ONE_CUSTOMER)
    bench.publish(2, customer_id="c-2")
    bench.read(now=bench.now)
    assert [(lag.unacked, lag.credit_left) for lag in bench.lags()] == [(2, Grant(events=9, bytes=1 << 20))]
