"""Why a command was refused. Each class has one reason on the wire."""

from collections.abc import Sequence

from order.domain.order import HOLDS_MAX, Order


class OrderError(Exception):
    """A command that was refused; nothing changed."""


class OrderNotFoundError(OrderError):
    """There is no such order, or none that the caller may see."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"there is no order {order_id!r}")
        self.order_id = order_id


class ActionNotAllowedError(OrderError):
    """The command makes no sense as the order stands."""

    def __init__(self, order: Order, action: str, allowed_actions: Sequence[str]) -> None:
        allowed = ", ".join(allowed_actions) or "none"
        holds = f" under {len(order.holds)} of at most {HOLDS_MAX} holds" if order.holds else ""
        super().__init__(f"{action} is not possible in state {order.state}{holds}; possible now: {allowed}")
        self.order = order


class OrderStateConflictError(ActionNotAllowedError):
    """The command is not legal in the order's state."""


class OrderHeldError(ActionNotAllowedError):
    """A hold keeps the order from this."""


class OrderClosedError(ActionNotAllowedError):
    """The fill comes after the order was closed."""


class QuantityConflictError(OrderError):
    """A line has fewer units for this than were asked for."""

    def __init__(self, order: Order, line_id: str, asked: int, left: int) -> None:
        super().__init__(f"{asked} units of line {line_id!r} were asked for, {left} are left")
        self.order = order
        self.line_id = line_id
        self.asked = asked
        self.left = left


class TooLateToCancelError(QuantityConflictError):
    """More was to be canceled than is open."""


class OverfillError(QuantityConflictError):
    """More was filled than is open."""


class OvershipError(QuantityConflictError):
    """More was shipped than is filled and not shipped."""


class OverdeliveryError(QuantityConflictError):
    """More was delivered than is on its way."""


class TooLateToAmendError(QuantityConflictError):
    """More was to be taken off a line than is open."""


class TooLateToBustError(QuantityConflictError):
    """Units of the fill have been shipped."""


class OverreturnError(QuantityConflictError):
    """More was to be given back than is delivered and not in a return yet."""


class OverreceiptError(QuantityConflictError):
    """More of a return was received than is open."""


class RecordNotFoundError(OrderError):
    """The command names a fill, hold, shipment or return that the order does not have."""

    def __init__(self, order_id: str, kind: str, record_id: str) -> None:
        super().__init__(f"order {order_id!r} has no {kind} {record_id!r}")
        self.kind = kind
        self.record_id = record_id


class HoldReleasedError(OrderError):
    """The hold was in force once, and is not put on again."""

    def __init__(self, order: Order, hold_id: str) -> None:
        super().__init__(f"hold {hold_id!r} was released: give another hold an id of its own")
        self.order = order
        self.hold_id = hold_id


class ReturnStateConflictError(OrderError):
    """The command is not legal in the return's state."""

    def __init__(self, order: Order, return_id: str, return_state: str) -> None:
        super().__init__(f"return {return_id!r} is {return_state}")
        self.order = order
        self.return_id = return_id
        self.return_state = return_state


class PaymentConflictError(OrderError):
    """More was to be taken or given back than there is."""

    def __init__(self, order: Order, asked: int, left: int) -> None:
        super().__init__(f"{asked} minor units were asked for, {left} are left")
        self.order = order
        self.asked = asked
        self.left = left


class OvercaptureError(PaymentConflictError):
    """More was captured than is authorized and not captured."""


class OverrefundError(PaymentConflictError):
    """More was refunded than is captured and not refunded."""


class PreTradeCheckError(OrderError):
    """The order, amended like that, fails checks that orders are judged by as they are placed."""

    def __init__(self, order: Order, checks: Sequence[str]) -> None:
        self.order = order
        self.checks = ",".join(checks)
        super().__init__(f"the order would fail {self.checks}")


class NotDueError(OrderError):
    """The order does not expire yet."""

    def __init__(self, order: Order) -> None:
        super().__init__(f"order {order.order_id!r} does not expire yet")
        self.order = order


class EtagMismatchError(OrderError):
    """The order has changed since the caller read it."""

    def __init__(self, order: Order, etag: str) -> None:
        super().__init__(f"the order's etag is {order.etag}, not {etag}: read it again")
        self.order = order


class UnknownLineError(OrderError):
    """The command names a line that the order does not have."""

    def __init__(self, line_id: str, path: str) -> None:
        super().__init__(f"the order has no line {line_id!r}")
        self.line_id = line_id
        self.path = path


class MoneyError(OrderError):
    """A price or an amount is in another currency than the order, or comes to more than an amount can hold."""

    def __init__(self, path: str, description: str) -> None:
        super().__init__(description)
        self.path = path


class TotalMismatchError(OrderError):
    """The lines do not add up to what the caller expected."""

    def __init__(self, expected: int, computed: int) -> None:
        super().__init__(f"the lines add up to {computed} minor units, not {expected}")
        self.computed = computed


class RecordConflictError(OrderError):
    """An id that was used before comes with other content."""

    def __init__(self, kind: str, record_id: str) -> None:
        super().__init__(f"{kind} {record_id!r} exists with other content")
        self.kind = kind
        self.record_id = record_id


class RequestIdReusedError(OrderError):
    """A request id that was used before comes with another request."""

    def __init__(self, request_id: str, differing_fields: Sequence[str]) -> None:
        super().__init__(f"request_id {request_id!r} was used with other content: {', '.join(differing_fields)}")
        self.request_id = request_id
        self.differing_fields = tuple(differing_fields)


class RequestFencedError(OrderError):
    """The command comes after its caller was told for good that it was not carried out."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id!r} was fenced: the command was not carried out and never will be")
        self.request_id = request_id


class SubscriptionNotFoundError(Exception):
    """There is no subscription of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no subscription {name!r}")
        self.name = name


class NoBusError(Exception):
    """The log is published nowhere."""

    def __init__(self) -> None:
        super().__init__("the service runs without Kafka: start it with --kafka-bootstrap-servers")


class OverloadedError(Exception):
    """More commands wait than the service can answer in time."""


class StoreUnavailableError(Exception):
    """The database cannot be used now; whether the command was carried out, a retry with its request id will say."""


class LogHoleError(Exception):
    """The database has lost a committed event. Whoever reads the log stops before it."""

    def __init__(self, shard: int, seq: int) -> None:
        super().__init__(f"event {seq} of shard {shard} was committed and is not there: restore the database")
        self.shard = shard
        self.seq = seq
