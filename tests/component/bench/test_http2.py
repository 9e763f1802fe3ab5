"""The client's end of HTTP/2 against servers that do what real ones seldom do."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from tests.bench.grpc_call import PREFIX_BYTES, CallTemplate
from tests.bench.http2 import (
    ACK,
    DATA,
    FRAME_HEADER_BYTES,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    BrokenError,
    frame,
    header_block,
)
from tests.bench.http2_load import Load
from tests.bench.http2_readers import Readers

METHOD = "/bench.Raw/Call"
PREFACE_BYTES = 24


@contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does what the script says with its one connection, and waits for its end."""

    def serve() -> None:
        with closing(listener.accept()[0]) as connection:
            connection.settimeout(0.3)
            script(connection)
            read_until_quiet(connection)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve, name="scripted-server")
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(10)


def read_until_quiet(connection: socket.socket) -> bytes:
    """Everything that is sent until nothing more comes for a while."""
    received = bytearray()
    try:
        while part := connection.recv(65_536):
            received += part
    except TimeoutError:
        pass
    return bytes(received)


def frames_of(sent: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame after the preface."""
    frames, at = [], PREFACE_BYTES
    while at < len(sent):
        word, flags, stream = struct.unpack_from(">IBI", sent, at)
        after = at + FRAME_HEADER_BYTES + (word >> 8)
        frames.append((word & 0xFF, flags, stream, sent[at + FRAME_HEADER_BYTES : after]))
        at = after
    return frames


def call_of(address: str, message: bytes = b"hello") -> CallTemplate:
    return CallTemplate(address, METHOD, message, deadline_seconds=None)


def test_settings_and_pings_are_acknowledged() -> None:
    sent = bytearray()

    def script(connection: socket.socket) -> None:
        connection.sendall(frame(SETTINGS, 0, 0, b"") + frame(PING, 0, 0, b"12345678") + frame(PING, ACK, 0, b"x" * 8))
        sent.extend(read_until_quiet(connection))

    with scripted(script) as address, Load(call_of(address), address, callers=1, connections=1) as load:
        load.run(0.5)

    frames = frames_of(bytes(sent))
    assert [each for each in frames if each[0] == PING] == [(PING, ACK, 0, b"12345678")]
    assert [each[1] for each in frames if each[0] == SETTINGS] == [0, ACK]


def test_streams_have_odd_numbers_in_their_order() -> None:
    sent = bytearray()

    def script(connection: socket.socket) -> None:
        sent.extend(read_until_quiet(connection))

    with scripted(script) as address, Load(call_of(address), address, callers=5, connections=1) as load:
        load.run(0.5)

    assert [each[2] for each in frames_of(bytes(sent)) if each[0] == HEADERS] == [1, 3, 5, 7, 9]


def test_no_more_is_sent_than_the_server_let_in() -> None:
    sent = bytearray()

    def script(connection: socket.socket) -> None:
        sent.extend(read_until_quiet(connection))

    with scripted(script) as address, Load(call_of(address, b"x" * 16_000), address, callers=30, connections=1) as load:
        load.run(0.5)

    bodies = [len(each[3]) for each in frames_of(bytes(sent)) if each[0] == DATA]
    assert bodies == [16_000 + PREFIX_BYTES] * 4, "65,535 bytes are allowed before the first WINDOW_UPDATE"


@pytest.mark.parametrize("bytes_per_frame", [1, 2, 3, 7])
def test_messages_may_be_torn_anywhere(bytes_per_frame: int) -> None:
    messages = [b"", b"one", b"", b"two-and-three", b"last"]
    stream = b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)
    torn = [stream[at : at + bytes_per_frame] for at in range(0, len(stream), bytes_per_frame)]

    def script(connection: socket.socket) -> None:
        connection.sendall(b"".join(frame(DATA, 0, 1, part) for part in torn))

    with scripted(script) as address, Readers(call_of(address), address, readers=1) as readers:
        (sample,) = readers.sample(0.2)

    assert sample == messages
    assert readers.messages == [len(messages)]
    assert readers.payload_bytes == [len(stream)]


def test_a_reset_call_is_an_error_and_its_caller_calls_again() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(frame(RST_STREAM, 0, 1, struct.pack(">I", 7)))

    with scripted(script) as address, Load(call_of(address), address, callers=1, connections=1) as load:
        running = load.run(0.2)
        finishing = load.finish(0.1)

    assert (running.replies, running.errors) == (0, 1)
    assert running.first_error == "RST_STREAM with code 7"
    assert finishing.errors == 1, "of the caller's next call, which nobody answered"


def test_an_empty_answer_is_an_error_even_with_status_ok() -> None:
    def script(connection: socket.socket) -> None:
        trailers = header_block([("grpc-status", "0")])
        connection.sendall(frame(HEADERS, 0x5, 1, trailers))

    with scripted(script) as address, Load(call_of(address), address, callers=1, connections=1) as load:
        assert load.run(0.2).errors == 1


def test_a_server_that_goes_away_breaks_the_connection() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + b"too_many_pings"))

    with scripted(script) as address, Load(call_of(address), address, callers=3, connections=1) as load:
        running = load.run(0.5)

    assert running.errors == 3
    assert running.first_error == "GOAWAY: too_many_pings"


def test_a_connection_that_was_closed_is_broken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with Readers(call_of(address), address, readers=1) as readers:
            listener.accept()[0].close()
            with pytest.raises(BrokenError):
                readers.run(5)


def test_a_header_that_needs_a_longer_length_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        header_block([("name", "x" * 127)])
