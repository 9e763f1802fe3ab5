"""Takes proofs for the streams that want them: one at a time, shared by those who read the same."""

import asyncio
from typing import Final

from infra.kernel.digest import Digest
from infra.kernel.position import Position
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.log import get_logger
from sync.application.ports import ReadModel
from sync.application.stream import Stream
from sync.domain.fanout import Selection

_KEPT_MAX: Final = 256
_log = get_logger(__name__)

Taken = tuple[Position, Digest]


class Proofs:
    """Reads digests of the read model for streams. Each goes through all orders, so that one at a time is enough."""

    def __init__(self, read_model: ReadModel) -> None:
        self._read_model = read_model
        self._turn = asyncio.Lock()
        self._kept: dict[Selection, tuple[float, Taken]] = {}

    async def serve(self, stream: Stream) -> None:
        """Proves the stream whenever it wants that, for as long as it is open."""
        while True:
            await stream.wants_proof()
            try:
                stream.prove(await self._of(stream.session.selection))
            except DatabaseUnavailableError as error:
                _log.warning("a stream cannot be proved now", error=str(error))
                stream.prove(None)

    async def _of(self, selection: Selection) -> Taken:
        now = asyncio.get_running_loop().time
        asked_at = now()
        async with self._turn:
            began_at, taken = self._kept.get(selection, (0.0, None))
            if taken is not None and began_at >= asked_at:  # by somebody else, while this one waited for its turn
                return taken
            began_at = now()
            taken = await self._read_model.prove(selection.term, selection.shards)
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            self._kept[selection] = began_at, taken
            return taken
