"""When a stream asks for a proof, and when it hands it out."""

from dataclasses import replace

from infra.kernel.digest import Digest
from sync.adapters.wire import pieces_to_wire
from sync.domain.fanout import Fanout, Frame
from sync.domain.frames import Grant, Progress, Proof
from sync.domain.ring import Ring
from sync.domain.session import ServerFrame, Session
from tests.harness.sync_log import LogMaker
from tests.unit.sync.test_session import TERMS, at

INTERVAL_SECONDS = 3


class Bench:
    """One shard, one session that is proved every three seconds, under credit for one event at a time."""

    def __init__(self) -> None:
        self.log = LogMaker(1)
        self.fanout = Fanout(Ring((1,), ring_bytes_max=1 << 20), pieces_to_wire)
        terms = replace(TERMS, digest_seconds=INTERVAL_SECONDS, credit=Grant(events=1, bytes=1 << 20))
        self.session = Session(terms, self.fanout, now=0)

    def publish(self, number: int) -> None:
        self.fanout.ring.append(self.log.groups(number))
        self.session.offer()

    def read(self, now: float) -> list[ServerFrame]:
        return list(iter(lambda: self.session.next_frame(now, 0), None))

    def prove(self, next_seq: int, now: float) -> Proof:
        digest = Digest()
        digest.add("o-1", next_seq)
        self.session.prove(at(next_seq), digest, now)
        return Proof(at=at(next_seq), count=1, hash=digest.hash)


def test_a_proof_is_asked_for_when_it_is_due_and_an_interval_after_the_last() -> None:
    bench = Bench()
    bench.read(now=0)
    assert (bench.session.due, bench.session.proving.wanted) == (INTERVAL_SECONDS, False)
    bench.read(now=INTERVAL_SECONDS)
    assert bench.session.proving.wanted
    proof = bench.prove(1, now=4)
    assert [proof] == bench.read(now=4)
    assert not bench.session.proving.wanted
    bench.read(now=6.9)
    assert not bench.session.proving.wanted
    bench.read(now=7)
    assert bench.session.proving.wanted


def test_a_proof_waits_for_the_events_that_it_speaks_of_and_holds_none_back() -> None:
    bench = Bench()
    bench.read(now=0)
    bench.read(now=INTERVAL_SECONDS)
    bench.publish(3)
    proof = bench.prove(3, now=3)
    seen = []
    for _ in range(3):
        seen += [frame for frame in bench.read(now=3) if isinstance(frame, (Frame, Proof))]
        bench.session.grant(Grant(events=1, bytes=0))
    assert [type(frame) for frame in seen] == [Frame, Frame, Proof, Frame]
    assert seen[2] == proof


def test_a_stream_that_is_behind_asks_for_nothing() -> None:
    bench = Bench()
    bench.read(now=0)
    bench.publish(5)
    assert not any(isinstance(frame, Progress) for frame in bench.read(now=2))
    bench.read(now=4)
    assert not bench.session.proving.wanted


def test_a_stream_that_leaves_is_not_due_for_a_proof() -> None:
    bench = Bench()
    bench.read(now=0)
    bench.session.close()
    bench.read(now=INTERVAL_SECONDS)
    assert bench.session.due > INTERVAL_SECONDS


def test_a_proof_that_could_not_be_taken_is_asked_for_again_later() -> None:
    bench = Bench()
    bench.read(now=0)
    bench.read(now=INTERVAL_SECONDS)
    bench.session.proving.take(None, 4)
    bench.read(now=6)
    assert not bench.session.proving.wanted
    bench.read(now=7)
    assert bench.session.proving.wanted
