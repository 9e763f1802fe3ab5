"""What the Sync Server refuses, and what it cannot go on after."""


class SyncError(Exception):
    """Base of the refusals that are this service's own."""


class OrderNotFoundError(SyncError):
    """The read model has no such order."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"there is no order {order_id!r} as of the position of this read")
        self.order_id = order_id


class SubscriptionNotFoundError(SyncError):
    """The caller has no such subscription."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no subscription {name!r}")
        self.name = name


class AckRefusedError(SyncError):
    """An ack that no state could make right."""

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description


class SubscriptionFilterChangedError(SyncError):
    """A durable subscription was opened with a filter that its floor was not reached under."""

    def __init__(self, name: str, stored: str, asked: str) -> None:
        super().__init__(
            f"subscription {name!r} was made with the filter {stored!r} and is now opened with {asked!r}: "
            "what the first left out would be lost; use another name"
        )
        self.name = name


class EpochNeverGivenError(SyncError):
    """A caller names a delivery epoch that no server can have given."""

    def __init__(self, claimed: int) -> None:
        super().__init__(f"no server can have given delivery epoch {claimed}: it is above the time in microseconds")


class FencedError(SyncError):
    """Somebody newer has taken over what a stream had, or has moved or deleted it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"this stream of subscription {name!r} is superseded: a newer opening, a seek or a deletion")
        self.name = name


class CallerSilentError(SyncError):
    """The caller has said nothing for longer than it wanted to."""

    def __init__(self, silence_seconds: float) -> None:
        super().__init__(f"nothing came from the caller for {silence_seconds:g} s: it is taken for gone")


class TooManyStreamsError(SyncError):
    """The server serves as many streams as it may."""

    def __init__(self, streams_max: int) -> None:
        super().__init__(f"this server already serves {streams_max} streams")


class OffsetExpiredError(SyncError):
    """A place on the topic of events that retention has passed."""

    def __init__(self, partition: int, asked: int, first: int) -> None:
        super().__init__(f"offset {asked} of partition {partition} is no longer kept, the first is {first}")
        self.partition = partition
        self.first = first


class OffsetAheadError(SyncError):
    """A place beyond the end of the topic of events."""

    def __init__(self, partition: int, asked: int, behind: int) -> None:
        super().__init__(f"offset {asked} of partition {partition} is beyond the topic's end, {behind}")
        self.partition = partition
        self.behind = behind


class LogHoleError(Exception):
    """A source left out a number: nothing after it may be used."""

    def __init__(self, shard: int, expected: int, got: int) -> None:
        super().__init__(f"shard {shard} goes on at seq {got}, not at {expected}")
        self.shard = shard
        self.expected = expected
        self.got = got
