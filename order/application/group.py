"""What becomes of a group of commands: pure decisions over one view of the database."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from prometheus_client import Counter

from infra.kernel.shard import shard_of
from infra.runtime.ids import uuid7
from order.application.ports import (
    CausedEvent,
    Codec,
    Head,
    LoggedEvent,
    Needs,
    Outcome,
    RequestKey,
    StoredReply,
    Submission,
    View,
    Writes,
)
from order.domain.changes import Change
from order.domain.commands import EraseOrderPersonalData, PlaceOrder, RecordingCommand
from order.domain.errors import (
    EtagMismatchError,
    OrderError,
    OrderNotFoundError,
    RequestFencedError,
    RequestIdReusedError,
)
from order.domain.lifecycle import check_repeat, decide, evolve, records_after, records_needed
from order.domain.order import Order
from order.domain.policy import Policy

REFUSED = Counter("stateset_order_commands_refused_total", "Commands that the model refused, by error.", ["error"])


class Reply(NamedTuple):
    """The answer to one command: its encoded reply or refusal, and whether it was given before."""

    body: bytes
    refused: bool = False
    replayed: bool = False


class _Step(NamedTuple):
    """One change of a command, as its event, and the order before and after it."""

    caused: CausedEvent
    before: Order | None
    after: Order


class _Granted(NamedTuple):
    """A command that is carried out, not yet encoded: its steps, and where they leave its order and its shard."""

    submission: Submission
    steps: Sequence[_Step]
    order: Order
    next_seq: int


class Group:
    """Commands that are committed together, and what becomes of each.

    Attributes:
        needs: What has to be read before they can be decided.
        writes: What the last `decide` changes.
        outcomes: By command, the answer that the last `decide` gave; true once the writes are durable.
    """

    def __init__(self, submissions: Sequence[Submission], *, shards: int, codec: Codec, policy: Policy) -> None:
        self._submissions = submissions
        self._shards = shards
        self._codec = codec
        self._policy = policy
        self._begun: set[RequestKey] = set()
        self.outcomes: list[Reply | Exception] = []
        self.writes = Writes()
        self.needs = Needs(
            requests=frozenset(each.key for each in submissions),
            orders=frozenset(each.command.order_id for each in submissions),
            records=frozenset(key for each in submissions for key in records_needed(each.command)),
        )

    def decide(self, view: View, now_us: int) -> Writes:
        """Each command in turn, on what the ones before it left. Starts from nothing when it is called again.

        All of them are decided before any is encoded, and then one kind of message is encoded after the other: the same
        work again finds its code in the processor's caches. Command by command, all of it takes a quarter longer.
        """
        self.writes = Writes(time_us=now_us)
        self._begun.clear()
        decided = [self._decided(each, view) for each in self._submissions]
        replies = iter(self._encoded([each for each in decided if isinstance(each, _Granted)]))
        self.outcomes = []
        for submission, each in zip(self._submissions, decided, strict=True):
            if isinstance(each, _Granted):
                body = next(replies)
                self._keep(submission, Outcome.COMMITTED, body, view)
                self.outcomes.append(Reply(body))
            else:
                self.outcomes.append(each or _replay(submission, view.replies[submission.key], self._codec))
        return self.writes

    def _decided(self, submission: Submission, view: View) -> _Granted | Reply | OrderError | None:
        """What becomes of the command; None if its request id was given before, in this group or in an earlier one."""
        key = submission.key
        if key in view.replies or key in self._begun:
            return None
        try:
            granted = self._carried_out(submission, view)
        except OrderError as error:
            return self._refused(submission, error, view)
        if not submission.validate_only:
            self._begun.add(key)
        return granted

    def _refused(self, submission: Submission, error: OrderError, view: View) -> Reply | OrderError:
        REFUSED.labels(type(error).__name__).inc()
        refusal = self._codec.encode_refusal(error)
        if refusal is None:
            return error
        self._keep(submission, Outcome.REFUSED, refusal, view)
        return Reply(refusal, refused=True)

    def _keep(self, submission: Submission, outcome: Outcome, body: bytes, view: View) -> None:
        if not submission.validate_only:
            kept = StoredReply(outcome, submission.method, submission.content, body)
            view.replies[submission.key] = self.writes.replies[submission.key] = kept

    def _carried_out(self, submission: Submission, view: View) -> _Granted:
        command = submission.command
        order = view.orders.get(command.order_id)
        if isinstance(command, RecordingCommand):
            known = view.records.get((command.order_id, command.record_kind, command.record_id))
            if known is not None:
                assert order is not None  # noqa: S101 - what has a record is there
                check_repeat(order, command, known)
                return self._moved(submission, order, [], view)  # by another request id: no event
        if order is None and not isinstance(command, PlaceOrder):
            raise OrderNotFoundError(command.order_id)
        if order is not None and submission.etag and submission.etag != order.etag:
            raise EtagMismatchError(order, submission.etag)
        return self._moved(submission, order, decide(order, command, view.records, self._policy), view)

    def _moved(self, submission: Submission, before: Order | None, changes: Sequence[Change], view: View) -> _Granted:
        """Numbers the changes; the view and the writes move on with them, unless the command only asked."""
        shard = shard_of(submission.command.order_id, self._shards)
        head = view.heads[shard]
        # Times of a shard never go back, whatever the clock does.
        record_time_us = max(self.writes.time_us, head.record_time_us)
        occur_time_us = record_time_us if submission.occur_time_us is None else submission.occur_time_us
        order, steps = before, []
        for index, change in enumerate(changes):
            after = evolve(order, change, occur_time_us=occur_time_us, record_time_us=record_time_us)
            event_id, seq = uuid7(record_time_us), head.next_seq + index
            steps.append(_Step(CausedEvent(event_id, change, after.version, seq, index, len(changes)), order, after))
            order = after
        assert order is not None  # noqa: S101 - it was there, or the first change has made it
        next_seq = head.next_seq + len(changes)
        if changes and not submission.validate_only:
            view.heads[shard] = self.writes.heads[shard] = Head(next_seq=next_seq, record_time_us=record_time_us)
            view.orders[order.order_id] = order
            records = records_after(submission.command, changes, view.records)
            view.records |= records
            self.writes.records |= records
        return _Granted(submission, steps, order, next_seq)

    def _encoded(self, granted: Sequence[_Granted]) -> list[bytes]:
        """The commands' replies; what they change, encoded, goes into the writes."""
        codec = self._codec
        orders = [[codec.encode_order(order) for order in _orders_of(each)] for each in granted]
        for each, bodies in zip(granted, orders, strict=True):
            if each.steps and not each.submission.validate_only:
                self._write(each, bodies)
        return [
            codec.encode_reply(bodies[-1], each.order.order_id, [step.caused for step in each.steps], each.next_seq)
            for each, bodies in zip(granted, orders, strict=True)
        ]

    def _write(self, granted: _Granted, bodies: Sequence[bytes]) -> None:
        submission, order = granted.submission, granted.order
        shard = shard_of(order.order_id, self._shards)
        for (caused, before, after), body in zip(granted.steps, bodies, strict=True):
            event = self._codec.encode_event(submission, caused, before, after, body)
            place = (shard, caused.seq, caused.group_index, caused.group_size)
            self.writes.events.append(LoggedEvent(*place, after.update_time_us, order.order_id, event))
        self.writes.orders[order.order_id] = (order, bodies[-1])
        if submission.personal or isinstance(submission.command, EraseOrderPersonalData):
            self.writes.personal[order.order_id] = submission.personal


def _orders_of(granted: _Granted) -> list[Order]:
    """The order after each step; as it stands, if there is none."""
    return [step.after for step in granted.steps] or [granted.order]


def _replay(submission: Submission, stored: StoredReply, codec: Codec) -> Reply | OrderError:
    """The first answer again, if the request is the same again. What is BEGUN was no command: its method differs."""
    refused = refusal_of_repeat(
        submission.request_id, submission.method, submission.content, stored, codec.differing_fields
    )
    return refused or Reply(stored.reply, refused=stored.outcome is Outcome.REFUSED, replayed=True)


def refusal_of_repeat(
    request_id: str,
    method: str,
    content: bytes,
    stored: StoredReply,
    differing_fields: Callable[[str, bytes, bytes], list[str]],
) -> OrderError | None:
    """Why a request cannot have what is stored under its id; None if it is the same again."""
    if stored.outcome is Outcome.NOT_EXECUTED:
        return RequestFencedError(request_id)
    if method != stored.method:
        return RequestIdReusedError(request_id, ["method"])
    if stored.content and content != stored.content:
        differing = differing_fields(method, stored.content, content)
        if differing:
            return RequestIdReusedError(request_id, differing)
    return None
