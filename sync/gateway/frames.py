"""Frames of a stream as text: encoded once for all readers who are sent the same, in whatever form they want it."""

from collections import OrderedDict
from collections.abc import Callable
from sys import getsizeof
from typing import Final

from stateset.order.v1 import order_frame_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.position import Position
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import token_of
from sync.adapters.wire import server_frame_to_wire
from sync.domain.fanout import Frame
from sync.domain.frames import Open, SnapshotStart
from sync.domain.session import ServerFrame, Session
from sync.gateway.json_encoder import json_of_message

BATCH_EVENTS: Final = 250  # in a frame, unless asked otherwise: JSON of more would keep the loop for too long
_KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
_BESIDE_BYTES: Final = 900  # beside a text that is kept: 837 by tracemalloc, a position of twelve shards above all
_LINE_ENDS: Final = "\x85\u2028\u2029"  # of Unicode; JSON escapes the others itself
_Key = tuple[Frame, bytes] | tuple[bytes, Position]

Form = Callable[[order_frame_pb2.ServerFrame, str, str], str]
"""Makes the text of a frame: from the frame, the token of the place behind it, and the frame's JSON."""


def tokened(asked: Open, path: str) -> Open:
    """The Open of a stream whose frames carry tokens.

    Raises:
        InvalidRequestError: It starts with a snapshot, of which a token cannot name the middle.
    """
    if isinstance(asked.start, SnapshotStart):
        raise InvalidRequestError([Violation(f"{path}.start.snapshot", "is served over gRPC only")])
    return asked


class Texts:
    """Texts in one form, framed for their connection. The last ones are kept, as who keeps up is sent the same."""

    def __init__(self, form: Form, framed: Callable[[bytes], bytes]) -> None:
        self._form = form
        self._framed = framed
        self._kept: OrderedDict[_Key, tuple[bytes, int]] = OrderedDict()
        self._kept_bytes = 0

    def has(self, frame: ServerFrame, session: Session) -> bool:
        """Whether the text of a frame of events is there."""
        return isinstance(frame, Frame) and (frame, session.selection.filter_hash) in self._kept

    def of(self, frame: ServerFrame, session: Session) -> bytes:
        """The text of the frame that a session has just handed out."""
        key: _Key
        if isinstance(frame, Frame):  # one object for many streams: compared by identity, and where it leads is known
            key = frame, session.selection.filter_hash
        else:
            key = server_frame_to_wire(frame), session.position
        kept = self._kept.get(key)
        if kept is not None:
            return kept[0]
        message = server_frame_to_wire(frame)
        text = self._encoded(message, session.position)
        self._keep(key, text, _BESIDE_BYTES + len(message) + getsizeof(text))
        return text

    def _encoded(self, message: bytes, behind: Position) -> bytes:
        frame = sync_service_pb2.SubscribeResponse.FromString(message).frame
        return self._framed(self._form(frame, token_of(behind), _in_one_line(json_of_message(frame))).encode())

    def _keep(self, key: _Key, text: bytes, size: int) -> None:
        self._kept[key] = text, size
        self._kept_bytes += size
        while self._kept_bytes > _KEPT_BYTES_MAX:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._kept_bytes -= oldest


def _in_one_line(text: str) -> str:
    """The JSON, escaped where readers by line see more ends than JSON has: httpx, as everything that splits a `str`."""
    if not text.isascii():
        for end in _LINE_ENDS:
            text = text.replace(end, f"\\u{ord(end):04x}")
    return text


def as_event(frame: order_frame_pb2.ServerFrame, token: str, text: str) -> str:
    """A server-sent event. A heartbeat is a comment; a goodbye says when to come back."""
    kind = frame.WhichOneof("frame")
    if kind == "heartbeat":
        return ": heartbeat\n\n"
    retry = _retry(frame.go_away) if kind == "go_away" else ""
    return f"{retry}id: {token}\nevent: {kind}\ndata: {text}\n\n"


def as_line(frame: order_frame_pb2.ServerFrame, token: str, text: str) -> str:
    """A line of JSON."""
    return f"{as_message(frame, token, text)}\n"


def as_message(_frame: order_frame_pb2.ServerFrame, token: str, text: str) -> str:
    """A message of a WebSocket."""
    return f'{{"token":"{token}","frame":{text}}}'


def _retry(go_away: stream_pb2.GoAway) -> str:
    return f"retry: {go_away.retry_after.ToMilliseconds()}\n"
