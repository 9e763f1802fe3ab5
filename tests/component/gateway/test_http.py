"""What HTTP itself asks of the gateway: statuses, headers, limits. On a log in memory and a real Order Service."""

import asyncio
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from sync.gateway.errors import HTTP_STATUS
from sync.gateway.requests import BODY_BYTES_MAX
from sync.gateway.server import HEAD_BYTES_MAX
from tests.harness.gateway_streams import socket_of
from tests.harness.order_service import OrderService, order_service
from tests.harness.ports import free_address
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually_async

PLACE = {
    "customerId": "ann",
    "currencyCode": "USD",
    "lines": [
        {"lineId": "1", "productId": "tea", "quantity": "3", "unitPrice": {"currencyCode": "USD", "nanos": "1000"}}
    ],
}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401 - any setting
    """A gateway on a log of one order; nobody is behind its other services."""
    log = LogMaker()
    log.group("o-1", size=2)
    nobody = free_address()
    others = dict.fromkeys(("order_address", "risk_address", "portfolio_address", "analytics_address"), nobody)
    async with (
        open_server(log.source, **{**others, **settings}) as client,
        httpx.AsyncClient(base_url=client.http, timeout=20) as http,
    ):
        yield http


@asynccontextmanager
async def ordering(folder: Path) -> AsyncIterator[tuple[OrderService, httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(order_service(folder))
        yield service, await stack.enter_async_context(gateway(order_address=service.address))


def reason_of(answer: httpx.Response) -> str:
    """The reason of a refusal, which is a Status in JSON, whatever it is."""
    assert answer.headers["content-type"] == "application/json"
    status = answer.json()
    assert set(status) <= {"code", "message", "details"}
    [info] = [detail for detail in status["details"] if detail["@type"].endswith("/google.rpc.ErrorInfo")]
    return str(info["reason"])


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "status", "reason"),
    [
        ("GET", "/nowhere", None, None, 404, "UNKNOWN_PATH"),
        ("GET", "/v1/orders/a/b/c/d", None, None, 404, "UNKNOWN_PATH"),
        ("GET", "/v1/stream", None, None, 426, "UPGRADE_REQUIRED"),
        ("DELETE", "/v1/orders", None, None, 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/v1/orders", None, None, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v1/orders", b"{", "application/json", 400, "INVALID_REQUEST"),
        ("POST", "/v1/orders", b'{"x": 1}', "application/json", 400, "INVALID_REQUEST"),
        ("POST", "/v1/orders", b'{"\\ud800": 1}', "application/json", 400, "INVALID_REQUEST"),
        ("POST", "/v1/orders", b"{}", "text/plain", 415, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", "/v1/orders", b"{}", None, 415, "CONTENT_TYPE_UNSUPPORTED"),
        ("POST", "/v1/orders?x=1", b"{}", "application/json", 400, "INVALID_REQUEST"),
        ("POST", "/v1/orders", b" " * (BODY_BYTES_MAX + 1), "application/json", 413, "BODY_TOO_LARGE"),
        ("POST", "/v1/orders", b'{"reason": "%s"}' % (b"x" * 300_000), "application/json", 413, "BODY_TOO_LARGE"),
        ("POST", "/v1/orders", b"{}", "application/json", 503, "SERVICE_UNAVAILABLE"),
        ("GET", "/v1/exposures", None, None, 503, "SERVICE_UNAVAILABLE"),
        ("GET", "/v1/read-model/orders/none", None, None, 404, "ORDER_NOT_FOUND"),
        ("GET", "/v1/read-model/orders/%FF", None, None, 400, "INVALID_REQUEST"),
        ("GET", "/v1/read-model/orders?filter=%FF", None, None, 400, "INVALID_REQUEST"),
        ("GET", "/v1/read-model/orders?" + "&".join(["a=1"] * 700), None, None, 400, "INVALID_REQUEST"),
        ("GET", "/v1/read-model/orders?page_token=x", None, None, 400, "INVALID_REQUEST"),
        ("GET", "/v1/read-model/digest?min_position.log_epoch=another", None, None, 409, "LOG_EPOCH_CHANGED"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_every_refusal_is_a_status_in_json(
    method: str, path: str, content: bytes | None, kind: str | None, *, status: int, reason: str
) -> None:
    async with gateway() as http:
        headers = {"content-type": kind} if kind else {}
        answer = await http.request(method, path, content=content, headers=headers)
    assert (status, reason) == (answer.status_code, reason_of(answer))
    assert answer.headers.get("allow") == ("GET, HEAD, POST" if status == 405 else None)
    assert ("retry-after" in answer.headers) == (status == 503)
    assert not any(leak in answer.text for leak in ("127.0.0.1", "Traceback", "/sync/", "stateset.order.v1."))


def test_every_code_of_grpc_has_a_status_of_http() -> None:
    assert all(400 <= status < 600 for code, status in HTTP_STATUS.items() if code.value[0])
    assert len(HTTP_STATUS) == 17


async def test_an_order_is_placed_once_and_read_with_its_etag(tmp_path: Path) -> None:
    async with ordering(tmp_path) as (_, http):
        headers = {"idempotency-key": "key-0001"}
        placed = await http.post("/v1/orders", json={"orderId": "o-9", **PLACE}, headers=headers)
        again = await http.post("/v1/orders", json={"orderId": "o-9", **PLACE}, headers=headers)
        assert (placed.status_code, placed.json()) == (200, again.json())
        assert ("idempotent-replayed" in placed.headers, again.headers["idempotent-replayed"]) == (False, "true")
        read = await http.get("/v1/orders/o-9")
        assert (await http.post("/v1/orders", json={"orderId": "o-8", **PLACE, "requestId": "ключ-0001"})).is_success
        spelled = [(b"idempotency-key", "ключ-0001".encode())]
        known = await http.post("/v1/orders", json={"orderId": "o-8", **PLACE}, headers=spelled)
        assert known.headers["idempotent-replayed"] == "true"
        etag = read.headers["etag"]
        assert etag == read.json()["order"]["etag"] == placed.headers["etag"]
        accepted = await http.post("/v1/orders/o-9:accept", json={"requestId": "first-01"}, headers={"if-match": etag})
        assert (accepted.status_code, accepted.headers["etag"] != etag) == (200, True)
        late = await http.post("/v1/orders/o-9:cancel", json={"requestId": "late-0001"}, headers={"if-match": etag})
        assert (late.status_code, reason_of(late)) == (412, "ETAG_MISMATCH")
        body = {"requestId": "late-0002", "etag": etag}
        assert (await http.post("/v1/orders/o-9:cancel", json=body)).status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/orders", {"requestId": "other-01"}, [("idempotency-key", "key-0001")]),
        ("/v1/orders", {}, [("idempotency-key", "key-0001"), ("idempotency-key", "key-0002")]),
        ("/v1/orders", {}, [("idempotency-key", "ä")]),
        ("/v1/orders", {}, [("if-match", '"1"')]),
        ("/v1/orders/o-1:accept", {}, [("if-match", "*")]),
        ("/v1/orders/o-1:accept", {}, [("grpc-timeout", "soon")]),
        ("/v1/orders/o-1:accept", {}, [("traceparent", "ä")]),
    ],
)
async def test_a_header_that_cannot_be_meant_is_refused(
    path: str,
    body: Any,  # noqa: ANN401 - any JSON
    headers: list[tuple[str, str]],
) -> None:
    async with gateway() as http:
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = await http.post(path, json=body, headers=encoded)
    assert (answer.status_code, reason_of(answer)) == (400, "INVALID_REQUEST")


async def test_what_is_passed_on_has_room_in_a_call() -> None:
    async with gateway() as http:
        fits = await http.get("/v1/read-model/digest", headers={"authorization": "x" * 7_000})
        long = await http.get("/v1/read-model/digest", headers={"authorization": "x" * 7_001})
    assert fits.is_success
    assert (long.status_code, reason_of(long)) == (431, "HEADERS_TOO_LARGE")


async def test_a_call_ends_at_the_callers_deadline() -> None:
    async with gateway() as http:
        epoch = (await http.get("/v1/read-model/digest")).json()["freshness"]["position"]["logEpoch"]
        ahead = f"min_position.log_epoch={epoch}" + "&min_position.next_seq=99" * 3
        late = await http.get(f"/v1/read-model/digest?{ahead}", headers={"grpc-timeout": "2S"})
        assert (late.status_code, reason_of(late)) == (503, "POSITION_NOT_REACHED")
        short = await http.get("/v1/read-model/digest", headers={"grpc-timeout": "1n"})
        assert short.status_code == 504


async def test_more_calls_at_once_than_a_connection_of_grpc_carries_wait_for_each_other() -> None:
    options: Any = {"timeout": 60, "limits": httpx.Limits(max_connections=300), "headers": {"grpc-timeout": "60S"}}
    async with gateway() as http, httpx.AsyncClient(base_url=http.base_url, **options) as many:
        answers = await asyncio.gather(*(many.get("/v1/read-model/orders") for _ in range(300)))
    assert {answer.status_code for answer in answers} == {200}


async def test_the_trace_of_a_command_is_in_its_event(tmp_path: Path) -> None:
    async with ordering(tmp_path) as (_, http):
        body = {"requestId": "trace-001", "orderId": "o-9", **PLACE}
        await http.post("/v1/orders", json=body, headers={"traceparent": TRACE})
        [event] = (await http.get("/v1/orders/o-9/events")).json()["events"]
    assert event["metadata"]["traceparent"].split("-")[1] == TRACE.split("-")[1]


async def test_a_long_answer_is_compressed_for_who_asks(tmp_path: Path) -> None:
    async with ordering(tmp_path) as (service, http):
        for _ in range(8):
            await service.place(1)
        plain = await http.get("/v1/orders", headers={"accept-encoding": "identity"})
        async with http.stream("GET", "/v1/orders", headers={"accept-encoding": "gzip"}) as answer:
            packed = b"".join([part async for part in answer.aiter_raw()])
        refused = await http.get("/v1/orders", headers={"accept-encoding": "gzip;q=0, *"})
    assert len(packed) < len(plain.content) / 2
    assert json.loads(gzip.decompress(packed)) == plain.json()
    assert "content-encoding" not in refused.headers


async def test_a_body_that_is_compressed_is_told_from_one_that_is_no_json() -> None:
    async with gateway() as http:
        body, headers = gzip.compress(b"{}"), {"content-type": "application/json", "content-encoding": "gzip"}
        answer = await http.post("/v1/orders", content=body, headers=headers)
    assert (answer.status_code, reason_of(answer)) == (415, "CONTENT_ENCODING_UNSUPPORTED")


async def test_pages_of_others_may_neither_read_nor_write() -> None:
    async with gateway() as http:
        other = {"origin": "https://evil.example"}
        read = await http.get("/v1/read-model/digest", headers=other)
        assert "access-control-allow-origin" not in read.headers
        write = await http.post("/v1/orders", headers=other)
        assert (write.status_code, reason_of(write)) == (403, "ORIGIN_REFUSED")
        own = {"origin": str(http.base_url).rstrip("/")}
        assert (await http.post("/v1/orders", headers=own)).status_code == 503


async def test_pages_of_an_allowed_origin_may() -> None:
    async with gateway(http_origins="https://shop.example https://desk.example") as http:
        shop = {"origin": "https://shop.example"}
        asks = {"access-control-request-method": "POST", "access-control-request-headers": "if-match,content-type"}
        preflight = await http.options("/v1/orders", headers={**shop, **asks})
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, shop["origin"])
        read = await http.get("/v1/read-model/orders/o-1", headers=shop)
        assert read.headers["access-control-allow-origin"] == shop["origin"]
        evil = {"origin": "https://evil.example"}
        other = await http.get("/v1/read-model/orders/o-1", headers=evil)
        assert "access-control-allow-origin" not in other.headers
        asked = await http.options("/v1/orders", headers={**evil, **asks})
        assert (asked.status_code, reason_of(asked)) == (403, "ORIGIN_REFUSED")
        assert "access-control-allow-origin" not in asked.headers


async def raw(http: httpx.AsyncClient, sent: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(sent)
    async with asyncio.timeout(20):
        said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"NONSENSE\r\n\r\n", b"400", "MALFORMED_HTTP"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", b"400", "MALFORMED_HTTP"),
        (b"GET /docs HTTP/1.1\r\n\r\n", b"400", "MALFORMED_HTTP"),
        (b"GET /docs HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"400", "MALFORMED_HTTP"),
        (b"GET /docs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", b"400", "MALFORMED_HTTP"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * (HEAD_BYTES_MAX + 1), b"431", "HEADERS_TOO_LARGE"),
        (b"GET /" + b"a" * (HEAD_BYTES_MAX + 1) + b" HTTP/1.1\r\nhost: a\r\n\r\n", b"431", "HEADERS_TOO_LARGE"),
    ],
    ids=["no HTTP", "no ASCII", "no host", "two hosts", "unknown encoding", "endless header", "long path"],
)
async def test_what_is_no_request_is_answered_and_shown_the_door(sent: bytes, status: bytes, reason: str) -> None:
    async with gateway() as http:
        head, _, body = (await raw(http, sent)).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert json.loads(body)["details"][0]["reason"] == reason


async def test_who_has_no_more_to_say_is_answered_still() -> None:
    async with gateway() as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"GET /v1/read-model/digest HTTP/1.1\r\nhost: a\r\n\r\n" * 2)
        writer.write_eof()
        async with asyncio.timeout(20):
            said = await reader.read()
        writer.close()
    assert said.count(b"HTTP/1.1 200 ") == 2


async def test_a_connection_that_is_idle_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server._IDLE_SECONDS", 0.1)
    async with gateway() as http:
        assert (await raw(http, b"GET /docs HTTP/1.1\r\nhost: a\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


CHUNKED = b"POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_what_trails_a_body_is_no_header() -> None:
    async with gateway() as http:
        sent = CHUNKED + b"2\r\n{}\r\n0\r\nif-match: nonsense\r\n\r\n"
        answered = await raw(http, sent + b"GET /docs HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+) ", answered) == [b"503", b"200"]


async def test_trailers_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server._FRAMING_BYTES_MAX", 100_000)

    async def send_without_end(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"a: b\r\n" * 1_000)
            await writer.drain()

    async with gateway() as http:
        _, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(CHUNKED + b"2\r\n{}\r\n0\r\n")
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_without_end(writer), 20)


@pytest.mark.parametrize("path", ["/v1/orders", "/nowhere"])
async def test_the_rest_of_an_answered_request_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("sync.gateway.server._REST_SECONDS", 0.5)
    monkeypatch.setattr("sync.gateway.requests._BODY_SECONDS", 0.1)
    async with gateway() as http:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        writer.write(b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 500000\r\n\r\n" % path.encode())
        reading = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            while not reading.done():  # a byte now and then keeps nothing alive
                writer.write(b" ")
                await asyncio.wait([reading], timeout=0.05)
        assert (await reading).startswith(b"HTTP/1.1 4")
        writer.close()


async def test_who_reads_nothing_of_the_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server._UNREAD_MS", 500)
    async with gateway(http_connections_max=1) as http:
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            greedy.connect((http.base_url.host, http.base_url.port))
            greedy.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n" * 40)

            async def another_is_served() -> bool:
                return (await http.get("/docs")).status_code == 200

            assert not await another_is_served()
            await eventually_async(another_is_served, within_seconds=30)


@pytest.mark.parametrize(
    ("method", "version", "status"), [("GET", "12", b"400"), ("POST", "13", b"405")], ids=["version", "method"]
)
async def test_an_opening_of_no_websocket_is_refused_like_anything_else(
    method: str, version: str, status: bytes
) -> None:
    async with gateway() as http:
        sent = f"{method} /v1/stream HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        said = await raw(http, f"{sent}sec-websocket-version: {version}\r\n\r\n".encode())
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert json.loads(body)["details"][0]["reason"] == "HANDSHAKE_REFUSED"


async def test_who_is_one_connection_too_many_is_told_to_come_later() -> None:
    async with gateway(http_connections_max=1) as http:
        _, first = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        answer = await http.get("/docs")
        assert (answer.status_code, reason_of(answer)) == (503, "TOO_MANY_CONNECTIONS")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("5", "close")
        with pytest.raises(InvalidStatus) as refused:
            async with socket_of(http):
                pass
        assert refused.value.response.status_code == 503
        first.close()
        await first.wait_closed()

        async def is_served() -> bool:
            return (await http.get("/docs")).status_code == 200

        await eventually_async(is_served)


async def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.gateway.server._HEAD_SECONDS", 0.1)
    monkeypatch.setattr("sync.gateway.requests._BODY_SECONDS", 0.1)
    async with gateway() as http:
        assert await raw(http, b"") == b""
        assert await raw(http, b"GET / HTTP/1.1\r\nhost") == b""
        slow = b"POST /v1/orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{"
        assert (await raw(http, slow)).startswith(b"HTTP/1.1 408 ")
