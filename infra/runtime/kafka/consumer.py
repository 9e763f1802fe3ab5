"""Records of assigned partitions, read on one thread and handed to the event loop a bounded number ahead."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, Ear, broker_error

_BATCH_RECORDS_MAX: Final = 500
_BATCHES_AHEAD_MAX: Final = 4  # handed over and not yet taken; beyond it the thread stops asking
_POLL_SECONDS: Final = 0.1  # how long leaving may take
_LEAVE_SECONDS: Final = 10.0
_QUEUE_KBYTES: Final = 16_384  # fetched and not yet handed over, beside one fetch of each partition


@asynccontextmanager
async def open_reader(cluster: Cluster, topic: str, starts: Mapping[int, int]) -> AsyncIterator["Reader"]:
    """Reads every record from the given offset of each partition on, committed or not, while the context lasts.

    There is no group and nothing is committed: where to start is the caller's knowledge.
    """
    reader = Reader(cluster, topic, starts)
    try:
        yield reader
    finally:
        await reader.close()


def queue_kbytes(partitions: int) -> int:
    """What the library may hold of one partition: it has a queue, and a limit, for each of them."""
    return max(1, _QUEUE_KBYTES // max(1, partitions))


class Reader:
    """The thread, and the queue between it and the loop."""

    def __init__(self, cluster: Cluster, topic: str, starts: Mapping[int, int]) -> None:
        self._ear = Ear()
        self._consumer = Consumer(
            {
                **cluster.client(self._ear.hear),
                "group.id": "stateset.reader",  # asked for by the library; never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_uncommitted",
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": queue_kbytes(len(starts)),
                "fetch.queue.backoff.ms": 1,  # else a full queue stops fetching for a second
                "socket.nagle.disable": True,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
            }
        )
        self._starts = [TopicPartition(topic, partition, offset) for partition, offset in starts.items()]
        self._doing = f"reading {topic}"
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[list[Message] | BrokerError] = asyncio.Queue()
        self._room = threading.Semaphore(_BATCHES_AHEAD_MAX)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"kafka-{topic}", daemon=True)
        self._thread.start()

    async def next(self) -> list[Message]:
        """What arrived next, at least one record; a wait that is canceled loses none.

        Raises:
            OffsetGoneError: An offset is not there: nothing is ever skipped instead.
            BrokerError: The broker says no, or does not let us in. A broker that is away is waited for.
        """
        arrived = await self._arrived.get()
        if isinstance(arrived, BrokerError):
            raise arrived
        self._room.release()
        return arrived

    async def close(self) -> None:
        """Ends the thread, which closes the consumer."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join, _LEAVE_SECONDS)

    def _read(self) -> None:
        try:
            self._consumer.assign(self._starts)
            while not self._closing.is_set():
                self._pass_on()
        except KafkaException as error:
            self._hand_over(broker_error(error, self._doing))
        except BrokerError as error:
            self._hand_over(error)
        finally:
            self._consumer.close()

    def _pass_on(self) -> None:
        """One batch: the first record is waited for, and with it goes what is there already.

        Without room nothing is asked for, so the library's own bounded queue fills and its fetching stops.
        """
        if not self._room.acquire(timeout=_POLL_SECONDS):
            return
        first = self._consumer.poll(_POLL_SECONDS)
        if self._ear.refusal is not None:
            raise broker_error(self._ear.refusal, self._doing)
        if first is None:
            self._room.release()
            return
        batch = [first, *self._consumer.consume(_BATCH_RECORDS_MAX - 1, 0)]
        for message in batch:
            error = message.error()
            if error is not None:
                raise broker_error(error, self._doing)
        self._hand_over(batch)

    def _hand_over(self, arrived: list[Message] | BrokerError) -> None:
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, arrived)
