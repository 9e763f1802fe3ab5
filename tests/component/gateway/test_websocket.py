"""The frame protocol over a WebSocket, on a log in memory."""

import asyncio
import json
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from infra.runtime.grpc.wire import position_of_token
from sync.gateway.binding import json_of
from tests.harness.gateway_streams import Seen, hear, read_socket, say, socket_of
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually_async

PLENTY = {"events": 1_000_000, "bytes": 1 << 40}
PING = b"\x89\x04"
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
ALL = {"start": {"point": "START_POINT_EARLIEST"}, "credit": PLENTY}


@asynccontextmanager
async def streaming(log: LogMaker, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - any setting
    async with open_server(log.source, **settings) as client, httpx.AsyncClient(base_url=client.http) as http:
        yield http


async def test_a_stream_resumes_at_its_token() -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as http:
        seen = Seen()
        await read_socket(http, seen, 20)
        log.groups(15)
        await read_socket(http, seen, 35)
    assert (seen.count, position_of_token(seen.token)) == (35, log.position)
    seen.check()


async def test_no_more_is_sent_than_there_is_credit_for() -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as http, socket_of(http) as socket:
        heartbeat = "0.5s"
        credit = {"events": "5", "bytes": "1000000"}
        await say(socket, open={**ALL, "credit": credit, "heartbeatInterval": heartbeat})
        seen = Seen()
        for kind in ("opened", "events", "heartbeat"):
            message = await hear(socket, kind)
            seen.add(message["token"], message["frame"])
        assert seen.count == 5
        await say(socket, credit={"events": 100, "mode": "CREDIT_MODE_ADD"})
        while seen.count < 20:
            message = await hear(socket, "events")
            seen.add(message["token"], message["frame"])
        assert (await hear(socket, "phaseChange"))["frame"]["phaseChange"] == {"phase": "PHASE_LIVE"}
    seen.check()


async def test_an_ack_is_answered_and_a_close_ends_the_stream() -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as http:
        async with socket_of(http) as socket:
            await say(socket, open={"subscription": "s-1", **ALL})
            progress = await hear(socket, "progress")
            await say(socket, heartbeat={"heartbeatSeq": 1})
            await say(socket, progress["token"], ack={"ackId": "a-1"})
            result = (await hear(socket, "ackResult"))["frame"]["ackResult"]
            assert (result["ackId"], result["status"]) == ("a-1", "ACK_STATUS_COMMITTED")
            await say(socket, close={})
            assert await close_code(socket) == 1000
        log.groups(1)
        async with socket_of(http) as socket:
            await say(socket, open={"subscription": "s-1", "credit": PLENTY})
            [batch] = (await hear(socket, "events"))["frame"]["events"]["batches"]
            assert len(batch["events"]) == 1


@pytest.mark.parametrize("ends", ["gone", "refused"])
async def test_who_has_gone_when_the_stream_ends_leaves_no_error_in_the_log(
    ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as http, socket_of(http) as socket:
        await say(socket, open={"subscription": "s-1", **ALL})
        await hear(socket, "progress")
        if ends == "refused":
            await socket.send("{")
        socket.transport.abort()
    assert [record for record in caplog.records if record.exc_info] == []


async def test_single_events_are_settled_and_come_again() -> None:
    log = LogMaker()
    log.group("o-1", size=2)
    async with streaming(log, breaker_outcomes=1_000) as http, socket_of(http) as socket:
        await say(socket, open={"subscription": "s-1", "credit": PLENTY, "unackedEventsMax": 100})
        [batch] = (await hear(socket, "events"))["frame"]["events"]["batches"]
        first, second = ({key: event[key] for key in ("shard", "seq") if key in event} for event in batch["events"])
        await say(socket, ack={"ackId": "a-1", "items": [{**first, "outcome": "ACK_OUTCOME_RETRY"}]})
        result = (await hear(socket, "ackResult"))["frame"]["ackResult"]
        assert result["items"] == [{**first, "status": "ACK_STATUS_COMMITTED"}]
        redelivery = (await hear(socket, "redelivery"))["frame"]["redelivery"]
        assert [each["attempt"] for each in redelivery["deliveries"]] == [2, 1]
        items = [{**first, "outcome": "ACK_OUTCOME_DONE"}, {**second, "outcome": "ACK_OUTCOME_PARK", "reason": "no"}]
        await say(socket, ack={"ackId": "a-2", "items": items})
        result = (await hear(socket, "ackResult"))["frame"]["ackResult"]
        assert {item["status"] for item in result["items"]} == {"ACK_STATUS_COMMITTED"}
        parked = (await http.get("/v1/subscriptions/s-1/parked")).json()["parked"]
        assert [(each["reason"], each["event"]["version"]) for each in parked] == [("no", "2")]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (["{"], "INVALID_REQUEST"),
        (["[]"], "INVALID_REQUEST"),
        ([b"{}"], "INVALID_REQUEST"),
        (['{"frame": {}}'], "INVALID_REQUEST"),
        (['{"frame": {"\\ud800": 1}}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {}}, "x": 1}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {"filter": "x = 1"}}}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {"x": 1}}}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {}}, "token": "x"}'], "POSITION_MALFORMED"),
        (['{"frame": {"open": {}}, "token": 1}'], "INVALID_REQUEST"),
        (['{"frame": {"credit": {}}}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {}}}', '{"frame": {"open": {}}}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {}}}', '{"frame": {"close": {}}, "token": ""}'], "INVALID_REQUEST"),
        (['{"frame": {"open": {}}}', "nonsense"], "INVALID_REQUEST"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_what_cannot_be_understood_ends_the_stream_with_a_status(
    messages: list[str | bytes], reason: str
) -> None:
    log = LogMaker()
    async with streaming(log) as http, socket_of(http) as socket:
        for message in messages:
            await socket.send(message)
        error = (await hear(socket, "error"))["error"]
        assert (error["code"] > 0, error["details"][0]["reason"]) == (True, reason)
        assert await close_code(socket) == 1008


async def test_pages_of_others_are_refused_and_leave_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with streaming(LogMaker(), http_origins="https://shop.example") as http:
        with pytest.raises(InvalidStatus) as refused:
            async with socket_of(http, origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body or b"")["details"][0]["reason"] == "ORIGIN_REFUSED"
        async with socket_of(http, origin="https://shop.example") as socket:
            await say(socket, open=ALL)
            await hear(socket, "opened")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_snapshot_is_refused_as_no_token_could_name_its_middle() -> None:
    async with streaming(LogMaker()) as http, socket_of(http) as socket:
        await say(socket, open={"start": {"snapshot": {}}})
        answer = json.loads(await socket.recv())
    assert "frame.open.start.snapshot" in json.dumps(answer["error"])


async def test_a_drain_says_goodbye() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        http = httpx.AsyncClient(base_url=client.http)
        connecting = socket_of(http)
        socket = await connecting.__aenter__()
        await say(socket, open=ALL)
        await hear(socket, "progress")
    await hear(socket, "goAway")
    await hear(socket, "closed")
    assert await close_code(socket) == 1012
    await connecting.__aexit__(None, None, None)
    await http.aclose()


async def test_who_has_not_said_what_it_wants_is_told_that_the_server_stops() -> None:
    async with open_server(LogMaker().source) as client:
        http = httpx.AsyncClient(base_url=client.http)
        connecting = socket_of(http)
        socket = await connecting.__aenter__()
    assert "STOPPING" in str(await socket.recv())
    assert await close_code(socket) == 1013
    await connecting.__aexit__(None, None, None)
    await http.aclose()


async def test_a_reader_that_takes_nothing_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server._DRAIN_SECONDS", 600)
    log = LogMaker()
    async with asyncio.timeout(180) as patience, httpx.AsyncClient() as http:
        async with open_server(log.source) as client:
            http.base_url = httpx.URL(client.http)
            connecting = socket_of(http, max_queue=1, ping_interval=None)  # it would leave by itself
            stuck = await connecting.__aenter__()
            await say(stuck, open=ALL)
            await hear(stuck, "progress")
            log.groups(5_000, padding=4_000)  # more than the buffers of a connection hold
            await read_socket(http, Seen(), 5_000)
        assert not patience.expired()
        await connecting.__aexit__(None, None, None)


async def test_a_stream_that_has_lasted_long_enough_ends_itself_and_says_where_to_go_on() -> None:
    log = LogMaker()
    log.groups(5)
    async with streaming(log, stream_seconds_max=0.3) as http:
        async with socket_of(http) as socket:
            await say(socket, open=ALL)
            assert (await hear(socket, "goAway"))["token"]
            await hear(socket, "closed")
            assert await close_code(socket) == 1012
        seen = Seen()
        while seen.count < 5:
            with suppress(ConnectionClosed):
                await read_socket(http, seen, 5)
    seen.check()


async def test_who_is_one_too_many_is_told_to_come_later() -> None:
    async with streaming(LogMaker(), streams_max=1) as http, socket_of(http) as first, socket_of(http) as second:
        await say(first, open=ALL)
        await hear(first, "opened")
        await say(second, open=ALL)
        assert (await hear(second, "error"))["error"]["details"][0]["reason"] == "OVERLOADED"
        assert await close_code(second) == 1013


async def test_a_message_that_is_too_large_ends_the_stream() -> None:
    async with streaming(LogMaker()) as http, socket_of(http) as socket:
        await socket.send(" " * 262_145)
        assert await close_code(socket) == 1009


async def test_a_stream_that_never_opens_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.runtime.grpc.opening.OPEN_SECONDS", 0.1)
    async with streaming(LogMaker()) as http, socket_of(http) as socket:
        assert (await hear(socket, "error"))["error"]["message"].startswith("frame.open: must come within")
        assert await close_code(socket) == 1008


@pytest.mark.parametrize("message", [b"{}", "{}"])
async def test_what_is_no_message_is_told_by_a_name(message: str | bytes) -> None:
    async with streaming(LogMaker()) as http, socket_of(http) as socket:
        await socket.send(message)
        assert (await hear(socket, "error"))["error"]["message"].startswith("message: must be")
        assert await close_code(socket) == 1008


async def close_code(socket: ClientConnection) -> int:
    """How the server closes the stream, after all that it still says."""
    with pytest.raises(ConnectionClosed) as closed:
        await hear(socket, "nothing more")
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def test_a_reader_that_stops_reading_holds_up_nobody_and_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.connection.STALLED_SECONDS", 0.5)
    log = LogMaker()
    async with streaming(log, streams_max=2) as http, socket_of(http, max_queue=1) as stuck:
        await say(stuck, open=ALL)
        await hear(stuck, "progress")
        log.groups(5_000, padding=4_000)  # more than the buffers of a connection hold
        seen = Seen()
        await read_socket(http, seen, 5_000)
        seen.check()
        await eventually_async(partial(_two_are_open, http))


async def _two_are_open(http: httpx.AsyncClient) -> bool:
    async with socket_of(http) as one, socket_of(http) as other:
        for socket in (one, other):  # with nothing to read: this client takes its time to leave what it has not read
            await say(socket, open={**ALL, "start": {"point": "START_POINT_LATEST"}})
        said = [json.loads(await socket.recv()) for socket in (one, other)]
    return all("frame" in message for message in said)


async def test_who_says_much_at_once_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, said_in = 0, Counter[int]()

    def counted(text: bytes) -> Any:  # noqa: ANN401 - any JSON
        said_in[turns] += 1
        return json_of(text)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr("sync.gateway.websocket.json_of", counted)
    frames: list[dict[str, Any]] = [{"credit": {"events": 1}}] * 500 + [{"close": {}}]
    texts = [json.dumps({"frame": frame}).encode() for frame in frames]
    async with streaming(LogMaker()) as http, socket_of(http) as socket:
        await say(socket, open=ALL)
        await hear(socket, "opened")
        others = asyncio.create_task(take_turns())
        socket.transport.write(b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts))
        await hear(socket, "closed")
        others.cancel()
    assert (sum(said_in.values()), max(said_in.values())) == (502, 1)


async def test_a_reader_that_reads_slowly_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.connection.STALLED_SECONDS", 1.0)
    log = LogMaker()
    log.groups(2_500, padding=4_000)
    async with streaming(log) as http:
        await read_socket(http, Seen(), 2_500)  # so that all of it is there
        async with slow_socket(http) as sock:
            loop, taken = asyncio.get_running_loop(), 0
            while taken < 6_500_000:  # more than the kernel delivers of a connection that was cut, in about 8 s
                data = await loop.sock_recv(sock, 40_000)
                assert data, f"cut off after {taken} bytes"
                taken += len(data)
                await asyncio.sleep(len(data) / 800_000)


async def test_pings_go_on_though_the_answer_to_one_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server.PING_SECONDS", 0.1)
    async with streaming(LogMaker()) as http, slow_socket(http) as sock:
        said = b""
        async with asyncio.timeout(10):
            while said.count(PING) < 5:
                said += await asyncio.get_running_loop().sock_recv(sock, 100_000)


@asynccontextmanager
async def slow_socket(http: httpx.AsyncClient) -> AsyncIterator[socket.socket]:
    """A stream of everything over a WebSocket, byte by byte: nobody answers a ping, and little is buffered here."""
    opening = json.dumps({"frame": {"open": {**ALL, "batchEventsMax": 500}}}).encode()
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await loop.sock_connect(sock, (http.base_url.host, http.base_url.port or 80))
        await loop.sock_sendall(sock, HANDSHAKE)
        assert (await loop.sock_recv(sock, 1_000)).endswith(b"\r\n\r\n")
        await loop.sock_sendall(sock, Frame(Opcode.TEXT, opening).serialize(mask=True))
        yield sock
