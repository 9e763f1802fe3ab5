"""Reads of the read model: each says which position it includes and as of when."""

from dataclasses import dataclass, replace

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import AtLeast, Position
from sync.application.freshness import Freshness
from sync.application.ports import OrderPage, ReadModel
from sync.domain.errors import OrderNotFoundError
from sync.domain.log import OrderRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """An answer includes everything below the position, and all that was recorded up to `as_of_us`: so long ago."""

    position: Position
    as_of_us: int
    staleness_us: int


class Queries:
    """Answers from the read model. Every call waits for its `AtLeast` first; see `Freshness.reach` for its refusals."""

    def __init__(self, read_model: ReadModel, freshness: Freshness) -> None:
        self._read_model = read_model
        self._freshness = freshness

    async def order(self, order_id: str, at_least: AtLeast) -> tuple[OrderRow, AsOf]:
        """One order.

        Raises:
            OrderNotFoundError: There is none as of the answer's position.
        """
        as_of = await self._ready(at_least)
        order = await self._read_model.find(order_id)
        if order is None:
            raise OrderNotFoundError(order_id)
        return order, as_of

    async def orders(self, term: Term, after: str, limit: int, at_least: AtLeast) -> tuple[OrderPage, AsOf]:
        """A page of matching orders, by id."""
        as_of = await self._ready(at_least)
        return await self._read_model.page(term, after=after, limit=limit), as_of

    async def digest(self, term: Term, at_least: AtLeast) -> tuple[Digest, AsOf]:
        """Proof of the matching orders that are held, at exactly the answer's position."""
        as_of = await self._ready(at_least)
        position, digest = await self._read_model.digest(term)
        return digest, replace(as_of, position=position)

    async def _ready(self, at_least: AtLeast) -> AsOf:
        """What holds before a read also holds for what it finds, which can only be newer."""
        await self._freshness.reach(at_least)
        return AsOf(
            position=self._freshness.position,
            as_of_us=self._freshness.as_of_us,
            staleness_us=round(self._freshness.staleness_seconds() * 1e6),
        )
