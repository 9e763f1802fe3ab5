"""A read model that is ahead of its log: that was set back, and gives its numbers to other events by and by."""

import asyncio
from typing import Final

from infra.kernel.position import Position, PositionAheadError
from infra.runtime.lifespan import StartupError
from sync.application.ports import AHEAD_OF, EventSource, ReadModel
from sync.domain.log import LogHead

_ASKED_SECONDS: Final = (1.0, 1.0, 1.0)  # Order Services that share a database hear of each other's commits in a second
# Made anew it would pass on, to readers who have passed them, numbers that the log now gives to other events.
_ADVICE: Final = (
    "if the log was restored from a backup, stop everything and run `stateset log new-epoch`; "
    "else name the right one with --order-address"
)


async def refuse_ahead(read_model: ReadModel, source: EventSource, position: Position) -> None:
    """Refuses, for good, a read model that has passed what the log holds.

    Once the log has come as far again, nobody could tell any more that it is another one. So that is written down.

    Raises:
        StartupError: It has.
        SourceUnavailableError: The log cannot be asked.
    """
    for seconds in (*_ASKED_SECONDS, 0.0):
        ahead = _ahead(position, await source.head())
        if ahead is None:
            return
        await asyncio.sleep(seconds)
    await read_model.condemn()
    raise StartupError(f"the read model cannot go on from where it stands: {ahead}; {_ADVICE}")


def refuse_condemned(position: Position) -> None:
    """Refuses a read model that was ahead of its log before.

    Raises:
        StartupError: It was.
    """
    if position.log_epoch.startswith(AHEAD_OF):
        raise StartupError(
            f"the read model was {position.log_epoch}, its log, and may hold what is there no longer: {_ADVICE}; "
            "then name another file with --database to build it anew"
        )


def _ahead(position: Position, head: LogHead) -> PositionAheadError | None:
    if position.log_epoch != head.log_epoch or len(position.next_seq) != len(head.next_seq):
        return None  # of another log: that is told elsewhere
    both = zip(position.next_seq, head.next_seq, strict=True)
    found = (PositionAheadError(shard, ours, theirs) for shard, (ours, theirs) in enumerate(both) if ours > theirs)
    return next(found, None)
