"""The Sync Server as its `main` puts it together, on a read model that is there already and a log that rests."""

import argparse
import asyncio
from pathlib import Path

from infra.runtime.lifespan import run
from infra.runtime.sql import open_database
from sync.adapters.memory import MemorySource, MemorySubscriptions
from sync.adapters.sql_read_model import SqlReadModel
from sync.main import Ports, open_sync
from sync.settings import SyncSettings
from tests.bench.events import LOG_EPOCH, SHARDS


async def _serve(address: str, database_url: str, stop: asyncio.Event) -> None:
    async with open_database(database_url, service="sync", migrations=Path("sync/migrations")) as database:
        read_model = SqlReadModel(database)
        position = await read_model.position()
        if position is None:
            raise AssertionError("the read model is empty")
        subscriptions = MemorySubscriptions()
        ports = Ports(MemorySource(LOG_EPOCH, SHARDS), read_model, subscriptions, subscriptions.parking)
        async with open_sync(SyncSettings(grpc_address=address, http_address="127.0.0.1:0"), ports, position):
            await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--database", required=True)
    arguments = parser.parse_args()
    run(lambda stop: _serve(arguments.grpc_address, arguments.database, stop))
