"""`GET /v1/events`, on a log in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

import httpx
import pytest

from infra.kernel.position import Position
from infra.runtime.grpc.wire import position_of_token, token_of
from tests.component.gateway.test_http import reason_of
from tests.harness.gateway_streams import LINES, Event, Seen, read_events, server_sent
from tests.harness.sync_client import Client, open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually, eventually_async


@asynccontextmanager
async def streaming(log: LogMaker) -> AsyncIterator[tuple[Client, httpx.AsyncClient]]:
    async with open_server(log.source) as client, httpx.AsyncClient(base_url=client.http, timeout=30) as http:
        yield client, http


async def until(events: AsyncIterator[Event], kind: str) -> Event:
    async with asyncio.timeout(20):
        async for event in events:
            if event.kind == kind:
                return event
    raise AssertionError(kind)


async def test_a_stream_resumes_right_after_its_last_event_and_goes_on_live() -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as (_, http):
        seen = Seen()
        await read_events(http, seen, 20)
        log.groups(15)
        await read_events(http, seen, 35)
        reading = asyncio.create_task(read_events(http, seen, 45))
        log.groups(10)
        await reading
        assert seen.count == 45
        seen.check()


async def test_a_stream_says_where_it_is_and_that_it_is_alive() -> None:
    log = LogMaker()
    log.groups(3)
    async with streaming(log) as (_, http), aclosing(server_sent(http, "heartbeatInterval=0.5s")) as events:
        assert (await anext(events)).kind == "retry"
        opened = await anext(events)
        assert (opened.kind, position_of_token(opened.token)) == ("opened", log.earliest)
        assert (await until(events, "events")).token
        progress = await until(events, "progress")
        assert position_of_token(progress.token) == log.position
        assert progress.data["progress"]["at"]["nextSeq"] == [str(seq) for seq in log.position.next_seq]
        assert (await until(events, "comment")).data == ": heartbeat"


async def test_lines_of_json_say_the_same_as_events() -> None:
    log = LogMaker()
    log.groups(4)
    log.group(products=["what ends\u2028a line\u2029for\x85some"])
    seen = Seen()
    async with streaming(log) as (_, http), http.stream("GET", "/v1/events", headers=LINES) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        async with asyncio.timeout(20):
            async for line in answer.aiter_lines():
                message = json.loads(line)
                seen.add(message["token"], message["frame"])
                if seen.count == 5:
                    break
    seen.check()
    assert position_of_token(seen.token) == log.position


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ([], "text/event-stream"),
        (["*/*"], "text/event-stream"),
        (["application/*"], "application/x-ndjson"),
        (["application/x-ndjson, text/event-stream;q=0.1"], "application/x-ndjson"),
        (["text/event-stream;q=0, */*"], "application/x-ndjson"),
        (["text/html", "application/x-ndjson"], "application/x-ndjson"),
        (["Application/X-NDJSON, nonsense"], "application/x-ndjson"),
    ],
    ids=str,
)
async def test_a_stream_has_the_form_that_is_liked_best(accept: list[str], media_type: str) -> None:
    async with streaming(LogMaker()) as (_, http):
        del http.headers["accept"]
        answer = await http.head("/v1/events", headers=[("accept", each) for each in accept])
    assert answer.headers["content-type"].partition(";")[0] == media_type


async def test_a_stream_starts_at_a_time_unless_it_goes_on() -> None:
    log = LogMaker(shards=1)
    log.group("o-1")
    log.group("o-2", record_time_us=1_800_000_000_000_000)
    query = "start.time=2026-01-01T00:00:00Z"
    async with streaming(log) as (_, http):
        async with aclosing(server_sent(http, query)) as events:
            batches = (await until(events, "events")).data["events"]["batches"]
        assert [event["orderId"] for batch in batches for event in batch["events"]] == ["o-2"]
        seen = Seen(token=token_of(log.earliest))
        await read_events(http, seen, 2, query)
        seen.check()


@pytest.mark.parametrize(
    ("accept", "begins"), [(b"text/event-stream", b"retry: 1000\n\nid: "), (b"application/x-ndjson", b'{"token":"')]
)
async def test_http_1_0_is_sent_no_chunks_and_ends_with_its_connection(accept: bytes, begins: bytes) -> None:
    log = LogMaker()
    log.groups(5)
    async with asyncio.timeout(20):
        async with open_server(log.source) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(client.http).port)
            writer.write(b"GET /v1/events HTTP/1.0\r\nAccept: %b\r\n\r\n" % accept)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert await reader.readexactly(len(begins)) == begins
            await reader.readuntil(b'"progress"')
        rest = await reader.read()
        writer.close()
    assert b"\r\n" not in rest
    assert rest.rpartition(b'{"closed":')[2].strip().endswith(b"}}")


async def test_a_stream_is_of_what_it_asks_for() -> None:
    log = LogMaker()
    for number in range(9):
        log.group(f"o-{number}", customer_id=f"c-{number % 3}")
    async with streaming(log) as (_, http):
        seen = Seen()
        await read_events(http, seen, 3, "filter=customer_id%3Dc-1")
        assert {"o-1", "o-4", "o-7"} == set(seen.versions)
        async with aclosing(server_sent(http, "start=LATEST&shards=0&shards=2")) as events:
            opened = await until(events, "opened")
            assert opened.data["opened"]["shards"] == [0, 2]
            next_seq = log.position.next_seq
            assert position_of_token(opened.token).next_seq == (next_seq[0], 0, next_seq[2])


@pytest.mark.parametrize(
    ("query", "headers", "status", "reason"),
    [
        ("x=1", {}, 400, "INVALID_REQUEST"),
        ("filter=x%3D1", {}, 400, "INVALID_REQUEST"),
        ("shards=7", {}, 400, "INVALID_REQUEST"),
        ("credit.events=1", {}, 400, "INVALID_REQUEST"),
        ("subscription=s-1&unackedEventsMax=1", {}, 400, "INVALID_REQUEST"),
        ("start=EARLIEST&start=LATEST", {}, 400, "INVALID_REQUEST"),
        ("start=LATEST&start.time=2026-01-02T03:04:05Z", {}, 400, "INVALID_REQUEST"),
        ("start=STORED", {}, 400, "INVALID_REQUEST"),
        ("start=soon", {}, 400, "POSITION_MALFORMED"),
        ("start=" + "A" * 5_000, {}, 400, "POSITION_MALFORMED"),
        ("", {"last-event-id": "%"}, 400, "POSITION_MALFORMED"),
        ("subscription=s-1&silenceMax=1s", {}, 400, "INVALID_REQUEST"),
        ("heartbeatInterval=1_0s", {}, 400, "INVALID_REQUEST"),
        ("batchEventsMax=1_0", {}, 400, "INVALID_REQUEST"),
        ("", {"accept": "text/html"}, 406, "NOT_ACCEPTABLE"),
        ("", {"accept": "text/event-stream;q=0"}, 406, "NOT_ACCEPTABLE"),
        ("", {"accept": "anything"}, 406, "NOT_ACCEPTABLE"),
        ("subscription=s-1", {"origin": "https://evil.example"}, 403, "ORIGIN_REFUSED"),
        ("subscription=s-1", {"sec-fetch-site": "cross-site"}, 403, "ORIGIN_REFUSED"),
        ("start=AHEAD", {}, 409, "POSITION_AHEAD"),
        ("start=OTHER", {}, 409, "LOG_EPOCH_CHANGED"),
    ],
)
async def test_a_stream_that_cannot_start_is_refused_before_it_begins(
    query: str, headers: dict[str, str], *, status: int, reason: str
) -> None:
    log = LogMaker()
    log.groups(30)
    places = {
        "AHEAD": log.position.moved({0: 10_000}),
        "OTHER": Position(log_epoch="another", next_seq=(1, 1, 1)),
    }
    for name, position in places.items():
        query = query.replace(f"start={name}", f"start={token_of(position)}")
    async with streaming(log) as (_, http):
        answer = await http.get(f"/v1/events?{query}", headers=headers)
    assert (status, reason) == (answer.status_code, reason_of(answer))


async def test_a_position_that_is_no_longer_kept_is_gone() -> None:
    log = LogMaker()
    log.groups(30)
    async with streaming(log) as (_, http):
        await eventually(lambda: log.source.confirmed == log.position)
        log.source.trim(0, 3)

        async def is_gone() -> bool:
            async with http.stream("GET", f"/v1/events?start={token_of(log.earliest)}") as answer:
                if answer.status_code == 200:  # the server has not looked at the log's head since
                    return False
                await answer.aread()
                return (answer.status_code, reason_of(answer)) == (410, "POSITION_EXPIRED")

        await eventually_async(is_gone)


async def test_the_floor_of_a_subscription_is_moved_by_a_call() -> None:
    log = LogMaker()
    log.groups(20)
    async with streaming(log) as (_, http):
        async with aclosing(server_sent(http, "subscription=s-1")) as events:
            epoch = (await until(events, "opened")).data["opened"]["deliveryEpoch"]
            progress = await until(events, "progress")
        answer = await http.post("/v1/subscriptions/s-1:ack", json={"deliveryEpoch": epoch, "token": progress.token})
        assert (answer.status_code, answer.json()["status"]) == (200, "ACK_STATUS_COMMITTED")
        log.groups(2)
        seen = Seen()
        await read_events(http, seen, 2, "subscription=s-1")
        assert seen.count == 2
        late = await http.post("/v1/subscriptions/s-1:ack", json={"deliveryEpoch": epoch, "token": seen.token})
        assert late.json()["status"] == "ACK_STATUS_FENCED"
        ahead = {"deliveryEpoch": epoch, "token": token_of(log.position.moved({0: 99}))}
        answer = await http.post("/v1/subscriptions/s-1:ack", json=ahead)
        assert (answer.status_code, reason_of(answer)) == (409, "POSITION_AHEAD")
        for body in ({"deliveryEpoch": epoch}, {"token": seen.token}, {"deliveryEpoch": epoch, "token": "x"}):
            assert (await http.post("/v1/subscriptions/s-1:ack", json=body)).status_code == 400


async def test_a_drain_says_goodbye_and_when_to_come_back() -> None:
    log = LogMaker()
    log.groups(2)
    async with httpx.AsyncClient(timeout=30) as http:
        async with open_server(log.source) as client:
            http.base_url = httpx.URL(client.http)
            events = server_sent(http)
            await until(events, "progress")
        kinds = [event.kind async for event in events]
    assert kinds[-3:] == ["retry", "go_away", "closed"]


async def test_a_stream_that_has_lasted_long_enough_ends_itself_and_says_where_to_go_on() -> None:
    log = LogMaker()
    log.groups(5)
    async with (
        open_server(log.source, stream_seconds_max=0.3) as client,
        httpx.AsyncClient(base_url=client.http) as http,
    ):
        seen = Seen()
        events = [event async for event in server_sent(http)]
        for event in events:
            if event.token:
                seen.add(event.token, event.data)
        assert [event.kind for event in events[-3:]] == ["retry", "go_away", "closed"]
        log.groups(3)
        while seen.count < 8:
            await read_events(http, seen, 8)
    seen.check()


async def test_a_reader_that_has_gone_leaves_nothing_behind() -> None:
    log = LogMaker()
    async with open_server(log.source, streams_max=1) as client, httpx.AsyncClient(base_url=client.http) as http:
        for _ in range(3):
            async with aclosing(server_sent(http, "heartbeatInterval=60s")) as events:
                await until(events, "opened")
            await eventually_async(partial(_is_free, http))


async def _is_free(http: httpx.AsyncClient) -> bool:
    async with http.stream("GET", "/v1/events") as answer:
        return answer.status_code == 200
