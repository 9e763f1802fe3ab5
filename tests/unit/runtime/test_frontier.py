"""What a consumer knows of its own freshness."""

from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Position
from stateset_client import Progress

from consumers.runner import Frontier
from infra.runtime.clock import ManualClock
from infra.runtime.grpc.draining import Draining

HERE = Position(log_epoch="log", next_seq=[5])


def test_a_sync_server_that_does_not_know_how_new_it_is_takes_nothing_back() -> None:
    frontier = Frontier(ManualClock(), Draining())
    frontier.advance(HERE, Progress(at=HERE, as_of=Timestamp(seconds=7)))
    frontier.advance(HERE, Progress(at=HERE, as_of=Timestamp()))
    assert frontier.as_of_us == 7_000_000
