"""Fills a store from a snapshot, part by part; what is stored says where to go on."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import SnapshotStart, Start

from stateset_client.errors import FencedError
from stateset_client.snapshot import SnapshotPart
from stateset_client.subscription import SNAPSHOT

Session = TypeVar("Session")
_Session_contra = TypeVar("_Session_contra", contravariant=True)


class SnapshotStore(Protocol[_Session_contra]):
    """Keeps how much of a snapshot a store has, beside its checkpoint and in the same transactions."""

    async def load_place(self) -> SnapshotStart | None:
        """The place in the snapshot; none before the first part, and none after the last."""

    def move_place(self, session: _Session_contra, before: SnapshotStart | None, after: SnapshotStart | None) -> bool:
        """Compare-and-set: replaces the place `before` by `after`; False, and nothing changed, if it is another."""


class SnapshotFold(Generic[Session]):
    """What a projection does with the orders that it starts from.

    Args:
        store: Where it keeps its place; the same database as the projection's store.
        apply: Takes over one order as it stands. From then on the store's `versions` must tell its version.
    """

    def __init__(self, store: SnapshotStore[Session], apply: Callable[[Order, Session], None]) -> None:
        self._store = store
        self._apply = apply
        self._place: SnapshotStart | None = None

    async def start(self) -> Start:
        """Where to open: behind what is stored."""
        self._place = await self._store.load_place()
        return SNAPSHOT if self._place is None else Start(snapshot=self._place)

    def fold(self, part: SnapshotPart, session: Session) -> None:
        """The work of one part's transaction.

        Raises:
            FencedError: Another process fills the same store.
        """
        after = None if part.is_last else part.start.snapshot
        if not self._store.move_place(session, self._place, after):
            raise FencedError.of("the store is not at this place of the snapshot: another process fills it")
        for order in part.orders:
            self._apply(order, session)

    def committed(self, part: SnapshotPart) -> None:
        """The part's transaction is durable."""
        self._place = part.start.snapshot
