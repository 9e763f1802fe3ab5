"""Where a server begins: at the read model's position, or with a read model that is new."""

import asyncio
from contextlib import aclosing, suppress
from typing import Final

from infra.kernel.position import Position, PositionExpiredError
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.log import get_logger
from sync.application.freshness import refuse_other_log
from sync.application.ingest import last_versions, proved
from sync.application.judgment import refuse_ahead, refuse_condemned
from sync.application.ports import EventSource, ReadModel, SourceUnavailableError
from sync.domain.errors import LogHoleError
from sync.domain.log import LogHead

_PAUSE_SECONDS: Final = 0.2
_FILL_PAUSE_SECONDS: Final = 2.0  # it is begun from the start again
_log = get_logger(__name__)


class Beginning:
    """Makes a read model ready to be served.

    A log that is whole is all that a new one needs. One that was trimmed tells nothing any more of orders that have not
    changed since: they are read as they stand. That is newer than any position that could be named with them, so that
    nothing is served before the log has been read on until it is covered.
    """

    def __init__(self, read_model: ReadModel, source: EventSource) -> None:
        self._read_model = read_model
        self._source = source

    async def position(self) -> Position:
        """The read model's position; one that is new waits for the log, to learn which it is and what it lacks.

        Raises:
            StartupError: The log is another one than the read model's, or was set back behind it.
        """
        while True:
            found = await self._read_model.position()
            if found is not None:
                refuse_condemned(found)
            try:
                head = await self._source.head()
            except SourceUnavailableError as error:
                if found is not None and all(found.next_seq):
                    return found  # reads can be answered meanwhile; whether the log is ours is asked again
                _log.info("waiting for the log", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if found is None:
                await self._read_model.begin(_first(head))  # another server may have begun it at this moment
                continue
            refuse_other_log(found, head)
            if all(found.next_seq):
                return await self._judged(found)
            await self._try_to_fill(head)

    async def _judged(self, found: Position) -> Position:
        """Before anything is served, so that whoever has started the log stops it, too."""
        with suppress(SourceUnavailableError):
            await refuse_ahead(self._read_model, self._source, found)
        return found

    async def _try_to_fill(self, head: LogHead) -> None:
        try:
            await self._fill(Position(log_epoch=head.log_epoch, next_seq=head.next_seq))
        except (SourceUnavailableError, DatabaseUnavailableError, PositionExpiredError, LogHoleError) as error:
            _log.warning("the read model could not be filled, trying again", error=str(error))
            await asyncio.sleep(_FILL_PAUSE_SECONDS)

    async def _fill(self, position: Position) -> None:
        """Orders as they stand, then what follows the position until they are covered; last of all, how far that is."""
        _log.info("the log was trimmed: the read model is filled with the orders as they stand")
        await self._source.confirm(position)  # so that it is not trimmed any further meanwhile
        filled = 0
        async with aclosing(self._source.orders()) as pages:
            async for orders in pages:
                if not await self._read_model.fill(orders):
                    return
                filled += len(orders)
        covering = await self._source.head()
        refuse_other_log(position, covering)
        async with aclosing(self._source.follow(position)) as arrivals:
            while not position.covers(position._replace(next_seq=covering.next_seq)):
                for batch in await anext(arrivals):
                    if (news := proved(batch, position)) is None:
                        continue
                    if not await self._read_model.fill(last_versions([news])):
                        return
                    position = position.moved({news.shard: news.last_seq + 1})
        await self._read_model.apply([], position)
        _log.info("the read model is filled", orders=filled, next_seq=position.next_seq)


def _first(head: LogHead) -> Position:
    """Where a new read model begins; at no place of a shard as long as it is not filled."""
    whole = Position.earliest(head.log_epoch, len(head.next_seq))
    return whole if head.earliest_seq == whole.next_seq else whole._replace(next_seq=(0,) * len(head.next_seq))
