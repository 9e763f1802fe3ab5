"""A transactional producer. Its records count once they are committed; until then a successor can take them back."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, Ear, broker_error, kafka_error
from infra.runtime.kafka.headers import Headers

_SLICE_SECONDS: Final = 0.5  # of a wait inside librdkafka, which cannot be interrupted
_TAKE_OVER_SECONDS: Final = 8.0  # 0.6 to 1.0 s as a rule; a coordinator that has just started takes some more
_COMMIT_SECONDS: Final = 5.0  # 50 ms as a rule
_ROOM_SECONDS: Final = 5.0
_TRANSACTION_TIMEOUT_MS: Final = 10_000  # how long a dead producer keeps readers of committed records waiting
_THROWN_AWAY: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})  # noqa: SLF001 - their public names


class TransactionalProducer:
    """One producer under a transactional id; of all that ever had the id only the newest one writes.

    Every call blocks for a bounded time, and all of them come from one thread. After an error there is nothing to be
    done with it but to close it: the next producer of the id undoes what this one left open.
    """

    def __init__(self, cluster: Cluster, transactional_id: str) -> None:
        self._failed: KafkaError | None = None
        self._failed_topic = ""
        self._closing = False
        self._ear = Ear()
        self._producer = Producer(
            {
                **cluster.client(self._ear.hear),
                "client.id": transactional_id,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
                "socket.timeout.ms": _TRANSACTION_TIMEOUT_MS,
                "enable.idempotence": True,
                # Else whoever deletes a topic gets it back at once, from a broker that makes what is asked for.
                "allow.auto.create.topics": False,
                "acks": "all",
                "message.timeout.ms": 0,  # a record that was given up on would be a gap
                "linger.ms": 2,  # one request for a group of commands; without it, a backlog goes in many small ones
                "retry.backoff.ms": 1,
                "socket.nagle.disable": True,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 1_000,
                "queue.buffering.max.messages": 50_000,
                "queue.buffering.max.kbytes": 65_536,
                "compression.type": "lz4",
                # A commit vouches for every record of its transaction; what is left to be told is why one failed.
                "delivery.report.only.error": True,
                "on_delivery": self._hear,
            }
        )

    def take_over(self) -> None:
        """Fences every earlier producer of the id, and undoes what it left open.

        Raises:
            BrokerError: It did not succeed in time.
        """
        deadline = time.monotonic() + _TAKE_OVER_SECONDS
        while True:
            try:
                return self._producer.init_transactions(_SLICE_SECONDS)
            except KafkaException as error:
                self._go_on_or_raise(error, deadline, "taking over")

    def begin(self) -> None:
        """Opens a transaction.

        Raises:
            BrokerError: As always.
        """
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise broker_error(error, "opening a transaction") from error

    def send(
        self, topic: str, partition: int, *, key: bytes, value: bytes, timestamp_ms: int, headers: Headers
    ) -> None:
        """Queues one record; it is on its way at once. Waits only while the queue is full.

        Raises:
            BrokerError: The transaction cannot be committed any more, or the queue stays full.
        """
        try:
            self._producer.produce(topic, value, key, partition, timestamp=timestamp_ms, headers=headers)
        except BufferError:
            self._make_room()
            self.send(topic, partition, key=key, value=value, timestamp_ms=timestamp_ms, headers=headers)
        except KafkaException as error:
            ended = kafka_error(error).code() == KafkaError._STATE  # noqa: SLF001 - its public name
            raise self._why(self._ended_by(error) if ended else error, "producing") from error

    def flush(self) -> None:
        """Returns once the broker has every record since `begin`.

        Raises:
            BrokerError: It did not take them in time.
        """
        deadline = time.monotonic() + _COMMIT_SECONDS
        while self._reported(self._producer.flush, _SLICE_SECONDS, "flushing"):
            if self._failed is not None or self._closing or time.monotonic() > deadline:
                raise self._why(KafkaError(KafkaError._TIMED_OUT), "flushing")  # noqa: SLF001 - its public name

    def commit(self) -> None:
        """Makes every record since `begin` durable and visible to readers of committed records: all, or none.

        Raises:
            FencedError: A newer producer has taken over; none is.
            BrokerError: Whether they are is not known.
        """
        deadline = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                return self._producer.commit_transaction(_SLICE_SECONDS)
            except KafkaException as error:
                self._go_on_or_raise(error, deadline, "committing")

    def abort(self) -> None:
        """Takes back every record since `begin`, and whatever an earlier producer of the id left in their partitions.

        Raises:
            FencedError: A newer producer has taken over.
            BrokerError: It did not succeed in time.
        """
        deadline = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                return self._producer.abort_transaction(_SLICE_SECONDS)
            except KafkaException as error:
                self._go_on_or_raise(error, deadline, "aborting")

    def interrupt(self) -> None:
        """Ends the wait of a call that is under way, with an error, soon. Any thread may call."""
        self._closing = True

    def close(self) -> None:
        """Throws away what is queued, and what is open stays open until a successor undoes it."""
        with suppress(KafkaException, BrokerError):  # one that was fenced says so once more
            self._producer.purge(blocking=False)
            self._reported(self._producer.poll, 0, "closing")
        del self._producer  # which reports to us: in that circle its threads would live until it is looked for

    def _make_room(self) -> None:
        """Returns when the queue is shorter, as far as this can be known: `produce` is the judge."""
        deadline = time.monotonic() + _ROOM_SECONDS
        before = len(self._producer)
        while len(self._producer) >= before and not self._closing:
            self._reported(self._producer.poll, 0.01, "producing")
            if self._failed is not None or time.monotonic() > deadline:
                raise self._why(KafkaError(KafkaError._QUEUE_FULL), "producing")  # noqa: SLF001 - its public name

    def _reported(self, call: Callable[[float], int], seconds: float, doing: str) -> int:
        """A call in which failed records are reported, and a fatal error comes as an exception.

        One that comes while a report is being heard makes a SystemError of it, in which it is not always to be found.
        """
        try:
            return call(seconds)
        except KafkaException as error:
            raise self._why(error, doing) from error
        except SystemError as error:
            raise self._why(self._ended_by(error), doing) from error

    def _go_on_or_raise(self, error: KafkaException, deadline: float, doing: str) -> None:
        """The library's own word decides whether the same call may simply be repeated."""
        if not kafka_error(error).retriable() or self._closing or time.monotonic() > deadline:
            raise self._why(error, doing) from error

    def _why(self, error: KafkaException | KafkaError, doing: str) -> BrokerError:
        """What a failed record or a fatal error was told with says more than the refusals that follow it.

        That a record was thrown away says nothing: the transaction had been refused before.
        """
        said = broker_error(error, doing)
        if type(said) is not BrokerError:
            return said
        told = self._told()
        if told is None or kafka_error(told).code() in _THROWN_AWAY:
            told = self._ear.reason(kafka_error(error))
        return broker_error(told, f"{doing} to {self._failed_topic}" if told is self._failed else doing)

    def _told(self) -> KafkaError | KafkaException | None:
        """What is known of a failure, or waits to be heard."""
        if self._failed is None:
            try:
                self._producer.poll(0)
            except KafkaException as error:
                return error
            except SystemError as error:  # see `_reported`
                return self._ended_by(error)
        return self._failed

    def _ended_by(self, lost: KafkaException | SystemError) -> KafkaException:
        """Why the transaction takes nothing more, from what the library refuses then with that reason: a new one."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            return error
        raise lost

    def _hear(self, error: KafkaError | None, message: Message) -> None:
        """Keeps why a record failed. What is thrown away because of that is reported too, and sometimes first."""
        if error is not None and (self._failed is None or self._failed.code() in _THROWN_AWAY):
            self._failed, self._failed_topic = error, message.topic() or ""
