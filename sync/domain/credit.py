"""How much more a stream may be sent."""

from typing import Final

from sync.domain.account import Account
from sync.domain.frames import Grant
from sync.domain.ring import Limits

_MAX: Final = 2**63 - 1  # as much as can be told


class Credit:
    """Events and bytes that the caller has granted and that are left; a group may overdraw them."""

    def __init__(self, grant: Grant | None) -> None:
        self._left = None if grant is None else [grant.events, grant.bytes]

    @property
    def left(self) -> Grant | None:
        """What is left; none where the transport alone bounds what is in flight."""
        return None if self._left is None else Grant(events=self._left[0], bytes=self._left[1])

    @property
    def exhausted(self) -> bool:
        """Whether nothing may be sent."""
        return self._left is not None and min(self._left) <= 0

    def add(self, grant: Grant) -> None:
        """Lets more be sent, where credit bounds what is."""
        if self._left is not None:
            left = [0, 0] if grant.replace else self._left
            self._left = [min(left[0] + grant.events, _MAX), min(left[1] + grant.bytes, _MAX)]

    def spend(self, events: int, size: int) -> None:
        """Something was sent."""
        if self._left is not None:
            self._left[0] -= events
            self._left[1] -= size

    def covers(self, events: int, size: int) -> bool:
        """Whether so much may be sent without overdrawing."""
        return self._left is None or (events <= self._left[0] and size <= self._left[1])

    def within(self, most: Limits) -> Limits:
        """What may be sent, and is no more than `most`."""
        if self._left is None:
            return most
        return most.within(Limits(events_max=self._left[0], bytes_max=self._left[1]))


class Bounded:
    """A credit as far as the account of single events lets it be used."""

    def __init__(self, credit: Credit, account: Account) -> None:
        self._credit = credit
        self._account = account

    @property
    def exhausted(self) -> bool:
        """Whether nothing may be sent."""
        room = self._account.room
        return self._credit.exhausted or room.events_max <= 0 or room.bytes_max <= 0

    def covers(self, events: int, size: int) -> bool:
        """Whether so much may be sent without overdrawing."""
        room = self._account.room
        return events <= room.events_max and size <= room.bytes_max and self._credit.covers(events, size)

    def within(self, most: Limits) -> Limits:
        """What may be sent, and is no more than `most`."""
        return self._credit.within(most).within(self._account.room)
