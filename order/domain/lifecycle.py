"""The life of an order: `decide` may refuse a command, `evolve` may not refuse a change."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from order.domain import closing, erasing, filling, paying, placing, returning, shipping
from order.domain.changes import Change, HistoricChange, OrderPersonalDataErased, OrderPlaced
from order.domain.commands import (
    BustFill,
    Command,
    HoldOrder,
    PlaceOrder,
    RecordDelivery,
    RecordFill,
    RecordingCommand,
    RecordShipment,
    RequestReturn,
    ReturnCommand,
)
from order.domain.errors import RecordConflictError
from order.domain.legality import refusal
from order.domain.lines import Effect, Given
from order.domain.order import Order
from order.domain.policy import LateFills, Policy
from order.domain.records import Record, RecordKey, own_record
from order.domain.state import with_state

DEFAULT_POLICY: Final = Policy()


def records_needed(command: Command) -> list[RecordKey]:
    """The records that `decide` and the check for repeats ask about, but for the order's own, which comes with it."""
    if isinstance(command, PlaceOrder):
        return []
    keys = []
    if isinstance(command, RecordingCommand):
        keys.append((command.order_id, command.record_kind, command.record_id))
    if isinstance(command, BustFill):
        keys.append((command.order_id, RecordFill.record_kind, command.record_id))
    elif isinstance(command, RecordDelivery):
        keys.append((command.order_id, RecordShipment.record_kind, command.shipment_id))
    elif isinstance(command, ReturnCommand):
        keys.append((command.order_id, RequestReturn.record_kind, command.return_id))
    return keys


def record_content(command: RecordingCommand) -> str:
    """What a repeat of the same id must say again, as its record has it."""
    content = blake2b(repr(command).encode(), digest_size=16).hexdigest()
    personal = command.personal_hash if isinstance(command, PlaceOrder) else ""
    return f"{content}.{personal}" if personal else content


def check_repeat(order: Order, command: RecordingCommand, known: Record) -> None:
    """Lets a command pass whose id was used before, if it says the same again: it changes nothing.

    Raises:
        RecordConflictError: It says something else. Personal data counts as long as the record has something of it.
        HoldReleasedError: Its hold is not in force any more, and the caller would take it to be.
    """
    content = record_content(command)
    if known.content not in (content, Record(content).erased.content):
        raise RecordConflictError(command.record_kind, command.record_id)
    if isinstance(command, HoldOrder):
        shipping.check_in_force(order, command)


def decide(
    order: Order | None, command: Command, records: Mapping[RecordKey, Record], policy: Policy = DEFAULT_POLICY
) -> list[Change]:
    """The changes that the command makes; none if the order is already as the command wants it.

    Args:
        order: The order as it stands; None only for `PlaceOrder`.
        command: What is asked.
        records: Of `records_needed(command)`, those that exist.
        policy: What the business wants.

    Raises:
        OrderError: The command is refused; the class says why.
    """
    if isinstance(command, PlaceOrder):
        return placing.place(command, policy)
    assert order is not None  # noqa: S101 - the caller has refused a command on an order that is not there
    refused = refusal(order, command, late_fills=policy.late_fills is LateFills.ACCEPT_FROM_CANCELED)
    if refused is not None:
        raise refused
    return _DECIDE[type(command)](order, command, Given(records, policy))


def evolve(order: Order | None, change: Change, *, occur_time_us: int, record_time_us: int) -> Order:
    """The order after the change; one version further."""
    if isinstance(change, OrderPlaced):
        return placing.placed(change, occur_time_us, record_time_us)
    assert order is not None  # noqa: S101 - only OrderPlaced comes first
    if isinstance(change, OrderPersonalDataErased):
        effect = erasing.erased(record_time_us)
    else:
        effect = _EVOLVE[type(change)](order, change)
    return with_state(order._replace(**effect, version=order.version + 1, update_time_us=record_time_us))


def records_after(
    command: Command, changes: Sequence[Change], records: Mapping[RecordKey, Record]
) -> dict[RecordKey, Record]:
    """The records that are new, or have or stand for something else once the changes are made."""
    after: dict[RecordKey, Record] = {}
    if isinstance(command, RecordingCommand):
        after[command.order_id, command.record_kind, command.record_id] = Record(record_content(command))
    for change in changes:
        if isinstance(change, OrderPersonalDataErased):
            own = own_record(command.order_id)
            after[own] = records[own].erased
        if isinstance(change, HistoricChange):
            key = (command.order_id, change.history.kind, change.history.record_id)
            after[key] = Record((after.get(key) or records[key]).content, change.history)
    return after


_DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {
    **placing.DECIDE,
    **closing.DECIDE,
    **filling.DECIDE,
    **shipping.DECIDE,
    **returning.DECIDE,
    **paying.DECIDE,
    **erasing.DECIDE,
}
_EVOLVE: Final[Mapping[type[Any], Callable[[Order, Any], Effect]]] = {
    **placing.EVOLVE,
    **closing.EVOLVE,
    **filling.EVOLVE,
    **shipping.EVOLVE,
    **returning.EVOLVE,
    **paying.EVOLVE,
}
