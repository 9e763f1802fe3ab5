"""How much more a stream may be sent."""

from typing import Final

from sync.domain.account import Account
from sync.domain.frames import Grant
from sync.domain.ring import Limits

_MAX: Final = 2**63 - 1  # as much as can be told


class Credit:
    """Events and bytes that the caller has granted and that are left; a group may overdraw them.

    Attributes:
        left: None where the transport alone bounds what is in flight.
    """

    def __init__(self, grant: Grant | None) -> None:
        self.left = None if grant is None else Grant(grant.events, grant.bytes)

    @property
    def exhausted(self) -> bool:
        """Whether nothing may be sent."""
        left = self.left
        return left is not None and (left.events <= 0 or left.bytes <= 0)

    def add(self, grant: Grant) -> None:
        """Lets more be sent, where credit bounds what is."""
        if self.left is not None:
            left = Grant(0, 0) if grant.replace else self.left
            self.left = Grant(min(left.events + grant.events, _MAX), min(left.bytes + grant.bytes, _MAX))

    def spend(self, events: int, size: int) -> None:
        """Something was sent."""
        if self.left is not None:
            self.left = Grant(self.left.events - events, self.left.bytes - size)

    def covers(self, events: int, size: int) -> bool:
        """Whether so much may be sent without overdrawing."""
        return self.left is None or (events <= self.left.events and size <= self.left.bytes)

    def within(self, most: Limits) -> Limits:
        """What may be sent, and is no more than `most`."""
        if self.left is None:
            return most
        return most.within(Limits(events_max=self.left.events, bytes_max=self.left.bytes))


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
