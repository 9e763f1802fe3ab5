"""Which subscriptions are told apart, and what is said of them."""

from dataclasses import dataclass
from typing import cast

from prometheus_client import REGISTRY

from sync.application.stream import Stream
from sync.application.subscription_gauges import OTHER, SubscriptionGauges
from sync.domain.frames import Grant, Lag, Phase
from sync.domain.lag import Horizon, Standing, lag_of
from sync.domain.subscription import SubscriptionKey

STANDING = Standing(
    shards=(0,), next_seqs=(4,), floors=(2,), credit=Grant(events=7, bytes=9), unfinished=None, parked=3
)
PREFIX = "stateset_sync_subscription"


@dataclass
class Session:
    standing: Standing = STANDING
    phase: Phase = Phase.LIVE


class OpenStream:
    def __init__(self, name: str, session: Session | None = None) -> None:
        self.key = SubscriptionKey(principal="p", name=name)
        self.session = session or Session()


class HeadAtTen:
    """A meter."""

    horizon = Horizon(heads=(10,), earliest=(1,), here=(10,))

    def of(self, standing: Standing) -> Lag:
        return self.timeless(standing)

    def timeless(self, standing: Standing) -> Lag:
        return lag_of(standing, self.horizon, "")


def gauges_of(streams: list[OpenStream]) -> SubscriptionGauges:
    return SubscriptionGauges(lambda: cast(list[Stream], streams), HeadAtTen(), names_max=2)


def told(name: str) -> tuple[float | None, ...]:
    kinds = ("lag", "credit", "unacked", "parked")
    return tuple(REGISTRY.get_sample_value(f"{PREFIX}_{kind}_events", {"subscription": name}) for kind in kinds)


def streams_of(name: str, phase: Phase) -> float | None:
    return REGISTRY.get_sample_value(f"{PREFIX}_streams", {"subscription": name, "phase": phase})


async def test_a_subscription_is_told_by_name_with_all_of_its_streams() -> None:
    behind = Session(standing=STANDING._replace(next_seqs=(3,), unfinished=5), phase=Phase.BEHIND)
    await gauges_of([OpenStream("g-1"), OpenStream("g-1", behind)]).measure()
    assert told("g-1") == (6 + 7, 14, 2 + 5, 6)
    assert [streams_of("g-1", phase) for phase in (Phase.LIVE, Phase.BEHIND, Phase.PAUSED)] == [1, 1, 0]


async def test_no_more_names_are_told_than_there_is_room_for_and_a_name_that_is_gone_makes_room() -> None:
    streams = [OpenStream(f"g-{number}") for number in range(4)]
    gauges = gauges_of(streams)
    await gauges.measure()
    assert [told(f"g-{number}")[0] for number in range(4)] == [6, 6, None, None]
    assert told(OTHER)[0] == 12
    del streams[0]
    await gauges.measure()
    assert [told(f"g-{number}")[0] for number in range(4)] == [None, 6, 6, None]
    assert told(OTHER)[0] == 6
    assert streams_of("g-0", Phase.LIVE) is None
