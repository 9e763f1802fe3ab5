"""Personal data is erased: the model never sees it, and remembers only that it is gone."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from order.domain.changes import Change, OrderPersonalDataErased
from order.domain.commands import EraseOrderPersonalData
from order.domain.lines import Effect, Given
from order.domain.order import Order


def _erase(order: Order, _command: EraseOrderPersonalData, _given: Given) -> list[Change]:
    return [] if order.personal_erase_time_us is not None else [OrderPersonalDataErased()]


def erased(record_time_us: int) -> Effect:
    """What the erasure leaves behind."""
    return Effect(personal_erase_time_us=record_time_us)


DECIDE: Final[Mapping[type[Any], Callable[[Order, Any, Given], list[Change]]]] = {EraseOrderPersonalData: _erase}
