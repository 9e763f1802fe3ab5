"""What happens around every call, and the table of errors."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import AsyncMock, Mock

import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import REGISTRY
from stateset.order.v1 import log_service_pb2, log_service_pb2_grpc

from infra.runtime.grpc import call, server
from infra.runtime.grpc.call import Call, access_of
from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.door import Door
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import Service, open_server
from infra.runtime.grpc.status import COMMON_ERRORS, refusal_of, to_status
from order.adapters.grpc_status import DOMAIN, ERRORS
from order.domain import errors
from tests.harness.order_service import refused
from tests.harness.waiting import eventually

CROWD = 64  # callers at once, fewer than a channel may have


def test_details_stay_far_below_what_metadata_may_hold() -> None:
    many = errors.RequestIdReusedError("r" * 64, [f"field_{number}" * 10 for number in range(500)])
    refusal = refusal_of(many, {**COMMON_ERRORS, **ERRORS})
    assert refusal is not None
    assert len(to_status(refusal, DOMAIN).SerializeToString()) < 6_000


def test_a_method_without_access_rule_keeps_a_service_from_starting() -> None:
    pool = DescriptorPool()
    file = FileDescriptorProto(name="x.proto", package="x", message_type=[DescriptorProto(name="M")])
    service = ServiceDescriptorProto(name="S")
    service.method.add(name="Open", input_type=".x.M", output_type=".x.M")
    file.service.append(service)
    pool.Add(file)
    method = pool.FindServiceByName("x.S").methods[0]
    with pytest.raises(ValueError, match="declares no roles"):
        access_of(method)


class Held:
    """Something that a handler holds."""


class Troubled:
    """A LogService that does what its test says."""

    def __init__(self) -> None:
        self.held: weakref.ref[Held] | None = None
        self.trouble: Exception | None = None
        self.seconds = 0.0
        self.called = asyncio.Event()
        self.canceled = asyncio.Event()

    async def GetLogHead(  # noqa: N802 - named as in the contract
        self, _request: log_service_pb2.GetLogHeadRequest, _call: Call
    ) -> log_service_pb2.GetLogHeadResponse:
        held = Held()
        self.held = weakref.ref(held)
        self.called.set()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.canceled.set()
            raise
        if self.trouble is not None:
            raise self.trouble
        return log_service_pb2.GetLogHeadResponse(log_epoch="e")

    def __getattr__(self, _name: str) -> object:
        """The service's other methods, which nobody calls."""
        return self.GetLogHead


@pytest.fixture
def troubled() -> Troubled:
    return Troubled()


@pytest.fixture
async def channel(troubled: Troubled) -> AsyncIterator[grpc.aio.Channel]:
    service = Service(log_service_pb2.DESCRIPTOR.services_by_name["LogService"], troubled)
    async with (
        open_server("127.0.0.1:0", [service], domain=DOMAIN, errors=ERRORS, draining=Draining()) as port,
        open_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:  # noqa: ANN401 - a generated stub
    return log_service_pb2_grpc.LogServiceStub(channel)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_a_server_describes_itself_whichever_reflection_is_asked(channel: grpc.aio.Channel, version: str) -> None:
    ask: Any = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = ask(timeout=30)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = [service.name for service in (await call.read()).list_services_response.service]
    for name in names:
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
    assert "stateset.order.v1.LogService" in names
    call.cancel()


async def test_an_unforeseen_error_is_internal_and_leaks_no_text(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.trouble = RuntimeError("the password is 1234")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest())
    assert (refused(error.value).code, refused(error.value).reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "1234" not in f"{error.value.details()}{error.value.trailing_metadata()}"


async def test_an_overload_says_when_to_come_again(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.trouble = errors.OverloadedError("full")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest())
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert told.retry_seconds == 0.2


async def test_what_a_refused_call_held_is_free_without_a_search_for_circles(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.trouble = errors.OverloadedError("full")
    gc.disable()
    try:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetLogHead(log_service_pb2.GetLogHeadRequest())
        troubled.trouble = None
        await eventually(lambda: troubled.held is not None and troubled.held() is None)
    finally:
        gc.enable()


async def test_an_error_from_a_task_group_is_told_as_what_it_was(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.trouble = ExceptionGroup("group", [ExceptionGroup("inner", [errors.OrderNotFoundError("o-1")])])
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest())
    assert refused(error.value).reason == "ORDER_NOT_FOUND"


async def test_a_call_without_a_deadline_is_given_one(
    stub: Any,  # noqa: ANN401 - a generated stub
    troubled: Troubled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call, "DEADLINE_SECONDS", 0.2)
    troubled.seconds = 60
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest())
    assert refused(error.value).reason == "DEADLINE_EXCEEDED"
    assert troubled.canceled.is_set()


async def test_a_handler_stops_when_its_caller_goes_away(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.seconds = 60
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=0.2)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(20):
        await troubled.canceled.wait()


def counted(code: str) -> float:
    """How many calls of GetLogHead have ended so."""
    labels = {"method": "/stateset.order.v1.LogService/GetLogHead", "code": code}
    return REGISTRY.get_sample_value("stateset_grpc_server_handled_total", labels) or 0.0


async def test_a_caller_who_goes_away_is_counted(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.seconds = 60
    before = counted("CANCELLED")
    calling = stub.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=20)
    async with asyncio.timeout(20):
        await troubled.called.wait()
    calling.cancel()
    await eventually(lambda: counted("CANCELLED") == before + 1)


async def test_a_caller_who_runs_out_of_time_is_counted(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    """Of some calls one, at least: on a crowded machine a caller's end may be read long before its deadline here."""
    troubled.seconds = 60

    def gone() -> float:
        return counted("CANCELLED") + counted("DEADLINE_EXCEEDED")

    async def run_out_of_time() -> None:
        before = gone()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=1)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: gone() == before + 1)

    before = counted("DEADLINE_EXCEEDED")
    for _ in range(10):
        await run_out_of_time()
        if counted("DEADLINE_EXCEEDED") > before:
            return
    pytest.fail("none of ten was counted as out of time")


@pytest.mark.parametrize(
    ("given", "left", "code"),
    [
        (None, None, "CANCELLED"),
        (10.0, 9.0, "CANCELLED"),
        (10.0, 0.05, "DEADLINE_EXCEEDED"),
        (10.0, 0.0, "DEADLINE_EXCEEDED"),
    ],
)
async def test_a_caller_who_goes_away_as_its_time_is_up_was_out_of_time(
    troubled: Troubled, monkeypatch: pytest.MonkeyPatch, given: float | None, left: float | None, code: str
) -> None:
    """Its time is up a little before ours is."""
    troubled.seconds = 60
    ended = (given or 10.0) - (left or 0.0)
    monkeypatch.setattr(call, "time", Mock(wraps=time, perf_counter=Mock(side_effect=[0.0, ended, ended])))
    context = Mock(time_remaining=Mock(side_effect=[given, left]), invocation_metadata=lambda: ())
    method = call.Method(log_service_pb2.DESCRIPTOR.services_by_name["LogService"].methods[0], DOMAIN, ERRORS, Door())
    before = counted(code)
    calling = asyncio.ensure_future(method.unary(troubled.GetLogHead)(log_service_pb2.GetLogHeadRequest(), context))
    await troubled.called.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert counted(code) == before + 1


async def test_a_stream_that_is_left_while_something_goes_wrong_ends_without_a_word() -> None:
    async def events(_request: object, _call: Call) -> AsyncIterator[bytes]:
        try:
            yield b""
        except GeneratorExit as left:
            raise BaseExceptionGroup("both at once", [left, errors.OverloadedError("full")]) from None

    method = call.Method(log_service_pb2.DESCRIPTOR.services_by_name["LogService"].methods[0], DOMAIN, ERRORS, Door())
    context = Mock(time_remaining=lambda: None, invocation_metadata=lambda: (), abort=AsyncMock())
    frames = method.stream(events)(None, context)
    assert await anext(frames) == b""
    await frames.aclose()  # type: ignore[attr-defined]  # it is a generator
    context.abort.assert_not_awaited()


async def test_a_call_that_cancels_itself_is_answered(stub: Any, troubled: Troubled) -> None:  # noqa: ANN401 - a generated stub
    troubled.trouble = asyncio.CancelledError()  # type: ignore[assignment]  # raised within, as by a stop
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=20)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_call_that_works_is_answered_though_the_server_stops(
    troubled: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_GOODBYE_SECONDS", 1.0)
    troubled.seconds = 1.5
    service = Service(log_service_pb2.DESCRIPTOR.services_by_name["LogService"], troubled)
    async with AsyncExitStack() as stack:
        serving = AsyncExitStack()
        opening = open_server("127.0.0.1:0", [service], domain=DOMAIN, errors=ERRORS, draining=Draining())
        port = await serving.enter_async_context(opening)
        channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}"))
        stub: Any = log_service_pb2_grpc.LogServiceStub(channel)
        calling = asyncio.ensure_future(stub.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=60))
        await troubled.called.wait()
        await serving.aclose()
        assert (await calling).log_epoch == "e"


async def test_whoever_comes_while_the_server_stops_is_told_to_try_again(troubled: Troubled) -> None:
    service = Service(log_service_pb2.DESCRIPTOR.services_by_name["LogService"], troubled)
    answers: list[str] = []
    ends: list[tuple[grpc.StatusCode, str]] = []

    async def call_until_refused(channel: grpc.aio.Channel) -> None:
        log: Any = log_service_pb2_grpc.LogServiceStub(channel)
        try:
            while True:
                answers.append((await log.GetLogHead(log_service_pb2.GetLogHeadRequest(), timeout=20)).log_epoch)
        except grpc.aio.AioRpcError as error:
            ends.append((error.code(), refused(error).reason if error.trailing_metadata() else ""))

    async with AsyncExitStack() as stack:
        callers = await stack.enter_async_context(asyncio.TaskGroup())
        serving = open_server("127.0.0.1:0", [service], domain=DOMAIN, errors=ERRORS, draining=Draining())
        port = await stack.enter_async_context(serving)
        channel = open_channel(f"127.0.0.1:{port}")
        for _ in range(CROWD):
            callers.create_task(call_until_refused(channel))
        await eventually(lambda: len(answers) > CROWD)
    await channel.close()
    told = ends.count((grpc.StatusCode.UNAVAILABLE, "STOPPING"))
    assert told > CROWD // 2, ends  # all, but where the machine stands still while they come
