"""One order on its way, without the service: what the model says to each command in turn."""

from dataclasses import dataclass, field, replace

from order.domain.changes import Change
from order.domain.commands import Command, RecordingCommand
from order.domain.lifecycle import check_repeat, decide, evolve, records_after
from order.domain.order import Order
from order.domain.policy import LateFills, Policy
from order.domain.records import Record, RecordKey

LATE_FILLS = Policy(late_fills=LateFills.ACCEPT_FROM_CANCELED)


@dataclass(slots=True)
class Story:
    """The order, its records, and the changes that brought them there."""

    policy: Policy = field(default_factory=Policy)
    order: Order | None = None
    records: dict[RecordKey, Record] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def carry_out(self, *commands: Command) -> Order:
        """The order after the commands. One that is refused changes nothing; a repeat of a record neither.

        Raises:
            OrderError: A command is refused.
        """
        for command in commands:
            if not self._is_known(command):
                self._apply(command)
        assert self.order is not None
        return self.order

    def copy(self) -> "Story":
        """Another story with the same past."""
        return replace(self, records=dict(self.records), changes=list(self.changes))

    def _is_known(self, command: Command) -> bool:
        if not isinstance(command, RecordingCommand):
            return False
        known = self.records.get((command.order_id, command.record_kind, command.record_id))
        if known is None:
            return False
        assert self.order is not None
        check_repeat(self.order, command, known)
        return True

    def _apply(self, command: Command) -> None:
        changes = decide(self.order, command, self.records, self.policy)
        for change in changes:
            self.order = evolve(self.order, change, occur_time_us=1, record_time_us=2)
        self.records |= records_after(command, changes, self.records)
        self.changes += changes
