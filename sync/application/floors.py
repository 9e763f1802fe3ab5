"""Durable floors that are moved from outside a stream."""

import asyncio

from infra.kernel.position import Position, check_log
from sync.application.acks import Acks
from sync.application.freshness import Freshness
from sync.domain.errors import AckRefusedError
from sync.domain.ring import Ring
from sync.domain.subscription import Ack, AckOutcome, AckStatus, SubscriptionKey


class Floors:
    """For readers whose streams go one way: what they were sent is not known here, so the head is the bound."""

    def __init__(self, acks: Acks, freshness: Freshness, ring: Ring) -> None:
        self._acks = acks
        self._freshness = freshness
        self._ring = ring

    async def ack(self, key: SubscriptionKey, delivery_epoch: int, through: Position) -> tuple[AckStatus, Position]:
        """Says that everything below `through` is done; what became of that, and the durable floor now.

        Raises:
            AckRefusedError: It says more than there is.
            PositionError: It names another log.
        """
        ours = self._freshness.position
        check_log(through, ours.log_epoch, len(ours.next_seq))
        moves = {shard: seq for shard, seq in enumerate(through.next_seq) if seq}
        for shard, seq in moves.items():
            if seq > self._ring.next_seqs[shard]:
                raise AckRefusedError("through.next_seq", f"shard {shard} ends below {self._ring.next_seqs[shard]}")
        answered: asyncio.Future[AckOutcome] = asyncio.get_running_loop().create_future()

        def answer(outcome: AckOutcome | Exception) -> None:
            if answered.cancelled():
                return
            if isinstance(outcome, Exception):
                answered.set_exception(outcome)
            else:
                answered.set_result(outcome)

        await self._acks.submit(Ack(key=key, ack_id="", delivery_epoch=delivery_epoch, through=moves), answer)
        outcome = await answered
        nowhere = Position(log_epoch=ours.log_epoch, next_seq=(0,) * len(ours.next_seq))
        return outcome.status, nowhere.moved(outcome.floors)
