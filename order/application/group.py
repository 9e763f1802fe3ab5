"""What becomes of a group of commands: pure decisions over one view of the database."""

from collections.abc import Sequence
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
    RecordConflictError,
    RequestFencedError,
    RequestIdReusedError,
)
from order.domain.lifecycle import decide, evolve, record_content, records_after, records_needed
from order.domain.order import Order
from order.domain.policy import Policy

REFUSED = Counter("stateset_order_commands_refused_total", "Commands that the model refused, by error.", ["error"])


class Reply(NamedTuple):
    """The answer to one command: its encoded reply or refusal, and whether it was given before."""

    body: bytes
    refused: bool = False
    replayed: bool = False


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
        self.outcomes: list[Reply | Exception] = []
        self.writes = Writes()
        self.needs = Needs(
            requests=frozenset((each.principal, each.request_id) for each in submissions),
            orders=frozenset(each.command.order_id for each in submissions),
            records=frozenset(key for each in submissions for key in records_needed(each.command)),
        )

    def decide(self, view: View, now_us: int) -> Writes:
        """Each command in turn, on what the ones before it left. Starts from nothing when it is called again."""
        self.writes = Writes(time_us=now_us)
        self.outcomes = [self._outcome(each, view) for each in self._submissions]
        return self.writes

    def _outcome(self, submission: Submission, view: View) -> Reply | Exception:
        key = (submission.principal, submission.request_id)
        stored = view.replies.get(key)
        if stored is not None:
            return _replay(submission, stored, self._codec)
        outcome = Outcome.COMMITTED
        try:
            body = self._carry_out(submission, view)
        except OrderError as error:
            REFUSED.labels(type(error).__name__).inc()
            refusal = self._codec.encode_refusal(error)
            if refusal is None:
                return error
            outcome, body = Outcome.REFUSED, refusal
        if not submission.validate_only:
            answered = StoredReply(outcome=outcome, method=submission.method, content=submission.content, reply=body)
            view.replies[key] = self.writes.replies[key] = answered
        return Reply(body, refused=outcome is Outcome.REFUSED)

    def _carry_out(self, submission: Submission, view: View) -> bytes:
        command = submission.command
        order = view.orders.get(command.order_id)
        if isinstance(command, RecordingCommand):
            known = view.records.get((command.order_id, command.record_kind, command.record_id))
            if known is not None:
                if known.content != record_content(command):
                    raise RecordConflictError(command.record_kind, command.record_id)
                return self._unchanged(command.order_id, view)
        if order is None and not isinstance(command, PlaceOrder):
            raise OrderNotFoundError(command.order_id)
        if order is not None and submission.etag and submission.etag != order.etag:
            raise EtagMismatchError(order, submission.etag)
        changes = decide(order, command, view.records, self._policy)
        if not changes:
            return self._unchanged(command.order_id, view)
        return self._apply(submission, order, changes, view)

    def _unchanged(self, order_id: str, view: View) -> bytes:
        """The reply to what is done already, by another request id: the order as it stands, and no event."""
        shard = shard_of(order_id, self._shards)
        order_bytes = self._codec.encode_order(view.orders[order_id])
        return self._codec.encode_reply(order_bytes, order_id, [], view.heads[shard].next_seq)

    def _apply(self, submission: Submission, before: Order | None, changes: list[Change], view: View) -> bytes:
        """Numbers and encodes the changes; the view and the writes move on unless the command only asked."""
        order_id = submission.command.order_id
        shard = shard_of(order_id, self._shards)
        head = view.heads[shard]
        # Times of a shard never go back, whatever the clock does.
        record_time_us = max(self.writes.time_us, head.record_time_us)
        order, order_bytes = before, b""
        caused: list[CausedEvent] = []
        events: list[LoggedEvent] = []
        for index, change in enumerate(changes):
            after = self._evolved(submission, order, change, record_time_us)
            order_bytes = self._codec.encode_order(after)
            event = CausedEvent(
                event_id=uuid7(record_time_us),
                change=change,
                version=after.version,
                seq=head.next_seq + index,
                group_index=index,
                group_size=len(changes),
            )
            body = self._codec.encode_event(submission, event, order, after, order_bytes)
            events.append(LoggedEvent(shard, event.seq, index, len(changes), record_time_us, order_id, body))
            caused.append(event)
            order = after
        assert order is not None  # noqa: S101 - there is at least one change
        head = Head(next_seq=head.next_seq + len(changes), record_time_us=record_time_us)
        if not submission.validate_only:
            self._write(submission, order, order_bytes, view)
            self._write_records(submission, changes, view)
            self.writes.events += events
            view.heads[shard] = self.writes.heads[shard] = head
        return self._codec.encode_reply(order_bytes, order_id, caused, head.next_seq)

    def _evolved(self, submission: Submission, order: Order | None, change: Change, record_time_us: int) -> Order:
        occur_time_us = record_time_us if submission.occur_time_us is None else submission.occur_time_us
        return evolve(order, change, occur_time_us=occur_time_us, record_time_us=record_time_us)

    def _write(self, submission: Submission, order: Order, order_bytes: bytes, view: View) -> None:
        view.orders[order.order_id] = order
        self.writes.orders[order.order_id] = (order, order_bytes)
        if submission.personal or isinstance(submission.command, EraseOrderPersonalData):
            self.writes.personal[order.order_id] = submission.personal

    def _write_records(self, submission: Submission, changes: list[Change], view: View) -> None:
        records = records_after(submission.command, changes, view.records)
        view.records |= records
        self.writes.records |= records


def _replay(submission: Submission, stored: StoredReply, codec: Codec) -> Reply | OrderError:
    """The first answer again, if the request is the same again."""
    if stored.outcome is Outcome.NOT_EXECUTED:
        return RequestFencedError(submission.request_id)
    if submission.method != stored.method:
        return RequestIdReusedError(submission.request_id, ["method"])
    if stored.content and submission.content != stored.content:
        differing = codec.differing_fields(submission.method, stored.content, submission.content)
        if differing:
            return RequestIdReusedError(submission.request_id, differing)
    return Reply(stored.reply, refused=stored.outcome is Outcome.REFUSED, replayed=True)
