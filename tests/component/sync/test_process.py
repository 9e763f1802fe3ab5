"""The Sync Server as a process, on the real Order Service."""

from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
from stateset.common.v1.money_pb2 import Price
from stateset.order.v1 import log_service_pb2, log_service_pb2_grpc, order_service_pb2, order_service_pb2_grpc
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from tests.harness.ports import free_address
from tests.harness.sync_client import PLENTY, Client, Stream
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually_async

STORED = stream_pb2.Start(point=stream_pb2.START_POINT_STORED)


async def place(channel: grpc.aio.Channel, first: int, number: int) -> None:
    stub = order_service_pb2_grpc.OrderServiceStub(channel)
    for each in range(first, first + number):
        await stub.PlaceOrder(
            order_service_pb2.PlaceOrderRequest(
                request_id=f"request-{each}",
                order_id=f"o-{each}",
                customer_id="c-1",
                currency_code="USD",
                lines=[
                    order_service_pb2.NewOrderLine(
                        line_id="1",
                        product_id="p-1",
                        quantity=2,
                        unit_price=Price(currency_code="USD", nanos=1_990_000_000),
                    )
                ],
            )
        )


async def test_a_killed_server_comes_back_with_the_same_orders_and_repeats_only_what_was_not_acked(
    tmp_path: Path,
) -> None:
    order_address, sync_address = free_address(), free_address()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running("order", tmp_path, order_address))
        orders = await stack.enter_async_context(connected(order_address))
        options = ("--order-address", order_address)
        async with running("sync", tmp_path, sync_address, *options) as process:
            async with connected(sync_address) as channel:
                await place(orders, 0, 20)
                stream = await named_stream(channel)
                await stream.until_events(20)
                position = stream.frames[0].opened.position
                for shard, next_seq in stream.next_seqs.items():
                    position.next_seq[shard] = next_seq
                await stream.say(ack=stream_pb2.Ack(ack_id="a-1", through=position))
                assert (await stream.until("ack_result")).status == stream_pb2.ACK_STATUS_COMMITTED
                await place(orders, 20, 10)
                await stream.until_events(30)
            process.kill()
            await process.wait()
        await place(orders, 30, 5)
        async with running("sync", tmp_path, sync_address, *options) as process, connected(sync_address) as channel:
            again = await named_stream(channel)
            await again.until_phase(stream_pb2.PHASE_LIVE, 20)
            await again.until_events(15)
            assert {f"o-{each}" for each in range(20, 35)} == {event.order_id for event in again.events}
            assert len(again.events) == 15
            truth = await log_service_pb2_grpc.LogServiceStub(orders).GetDigest(log_service_pb2.GetDigestRequest())
            request = sync_service_pb2.GetDigestRequest(min_position=truth.position)
            copy = await Client(channel).stub.GetDigest(request, timeout=10)
            assert (35, truth.digest) == (copy.digest.count, copy.digest)
        assert process.returncode == 0


async def named_stream(channel: grpc.aio.Channel) -> Stream:
    return await Client(channel).subscribe(stream_pb2.Open(subscription="s-1", start=STORED, credit=PLENTY))


async def test_a_new_server_on_a_trimmed_log_knows_every_order_and_holds_what_follows(tmp_path: Path) -> None:
    order_address, sync_address = free_address(), free_address()
    async with (
        running("order", tmp_path, order_address, "--log-retention-hours", "0.0001"),
        connected(order_address) as orders,
    ):
        log = log_service_pb2_grpc.LogServiceStub(orders)

        async def is_trimmed() -> bool:
            head = await log.GetLogHead(log_service_pb2.GetLogHeadRequest())
            return all(shard.earliest_seq == shard.next_seq > 1 for shard in head.shards)

        async def is_held() -> bool:
            head = await log.GetLogHead(log_service_pb2.GetLogHeadRequest())
            told = await log.ListLogSubscriptions(log_service_pb2.ListLogSubscriptionsRequest())
            return [list(each.floors) for each in told.subscriptions] == [[each.next_seq for each in head.shards]]

        await place(orders, 0, 40)
        await eventually_async(is_trimmed, within_seconds=30)
        async with (
            running("sync", tmp_path, sync_address, "--order-address", order_address),
            connected(sync_address) as channel,
        ):
            await place(orders, 40, 5)
            truth = await log.GetDigest(log_service_pb2.GetDigestRequest())
            request = sync_service_pb2.GetDigestRequest(min_position=truth.position)
            copy = await Client(channel).stub.GetDigest(request, timeout=10)
            assert (45, truth.digest) == (copy.digest.count, copy.digest)
            await eventually_async(is_held, within_seconds=30)


async def test_a_read_model_of_another_log_is_refused(tmp_path: Path) -> None:
    order_address, sync_address = free_address(), free_address()
    options = ("--order-address", order_address)
    async with (
        running("order", tmp_path, order_address),
        connected(order_address),
        running("sync", tmp_path, sync_address, *options),
        connected(sync_address),
    ):
        pass
    another = tmp_path / "another"
    async with (
        running("order", another, order_address),
        connected(order_address),
        running("sync", tmp_path, sync_address, *options) as process,
    ):
        await process.wait()
    assert process.returncode == 2
