"""The RPCs of a fake Sync Server's parking place."""

from collections import defaultdict
from typing import Protocol

import grpc
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.testing.pages import page_after, page_size, page_token
from stateset_client.testing.refusal import Refusal
from stateset_client.testing.settling import Book, Place


class Parking(Protocol):
    """What is kept of each subscription, and what may be done with its parked events."""

    books: defaultdict[str, Book]
    epochs: dict[str, int]

    def replay_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Has parked events sent again: one, those of an order, or all; how many."""

    def discard_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Forgets parked events for good; how many."""


class ParkingRpcs:
    """Answers as the Sync Server does."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking

    def ListParked(self, request: sync.ListParkedRequest) -> sync.ListParkedResponse:  # noqa: N802 - named as in the contract
        """See the contract."""
        self._refuse_unknown(request.subscription)
        size, after = page_size(request.page_size), page_after(request.page_token, request.subscription)
        behind = tuple(map(int, after.split(":"))) if after else ()
        parked = sorted(each for each in self._parking.books[request.subscription].parked.items() if each[0] > behind)
        more = len(parked) > size
        return sync.ListParkedResponse(
            next_page_token=page_token("{}:{}".format(*parked[size - 1][0]), request.subscription) if more else "",
            parked=[
                sync.ParkedEvent(
                    event=each.event,
                    whole_order=each.whole_order,
                    reason=each.reason,
                    attempts=each.attempts,
                    replaying=each.replaying,
                )
                for _, each in parked[:size]
            ],
        )

    def ReplayParked(self, request: sync.ReplayParkedRequest) -> sync.ReplayParkedResponse:  # noqa: N802 - as above
        """See the contract."""
        self._refuse_unknown(request.subscription)
        return sync.ReplayParkedResponse(events=self._parking.replay_parked(request.subscription, *_which(request)))

    def DiscardParked(self, request: sync.DiscardParkedRequest) -> sync.DiscardParkedResponse:  # noqa: N802 - as above
        """See the contract."""
        self._refuse_unknown(request.subscription)
        return sync.DiscardParkedResponse(events=self._parking.discard_parked(request.subscription, *_which(request)))

    def _refuse_unknown(self, name: str) -> None:
        if name not in self._parking.epochs:
            raise Refusal(grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", f"there is no subscription {name!r}")


def _which(request: sync.ReplayParkedRequest | sync.DiscardParkedRequest) -> tuple[str | None, Place | None]:
    match request.WhichOneof("which"):
        case "event":
            return None, (request.event.shard, request.event.seq)
        case "order_id":
            return request.order_id, None
    return None, None
