from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.runtime.clock import Clock, ManualClock
from infra.runtime.sql import open_database
from order.adapters.memory import MemoryLog
from order.adapters.sql_log import open_log
from order.adapters.sql_orders import SqlOrders
from order.adapters.sql_records import SqlRecords
from order.adapters.wire import WireCodec
from order.application.heads import Heads
from order.application.ports import Log
from order.application.read_ports import Orders, Records
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from order.main import MIGRATIONS

SHARDS = 3
Stores = tuple[Log, Orders, Records]


@pytest.fixture(params=[0, 1_048_576], ids=["no tail", "tail"])
async def stores(database_url: str | None, request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if database_url is None:
        memory = MemoryLog(SHARDS)
        yield memory, memory, memory
        return
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        yield await open_log(database, SHARDS, tail_bytes_max=request.param), SqlOrders(database), SqlRecords(database)


@pytest.fixture
def log(stores: Stores) -> Log:
    return stores[0]


@pytest.fixture
def orders(stores: Stores) -> Orders:
    return stores[1]


@pytest.fixture
def records(stores: Stores) -> Records:
    return stores[2]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def writer(log: Log, clock: ManualClock) -> AsyncIterator[Writer]:
    async with writing(log, clock) as writer:
        yield writer


@asynccontextmanager
async def writing(log: Log, clock: Clock) -> AsyncIterator[Writer]:
    heads, codec = Heads(log.log_epoch, [1] * SHARDS), WireCodec(log.log_epoch, SHARDS)
    writer = Writer(log, codec, heads, clock, WriterLimits(gather_seconds=0.001), Policy())
    async with writer.running():
        yield writer
