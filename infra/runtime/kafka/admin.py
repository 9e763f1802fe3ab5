"""The topics on a broker: compared with the table, made, corrected, and checked before anything is published."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import AWAY, Ear, kafka_error
from infra.runtime.lifespan import StartupError
from infra.runtime.topics import TOPICS, Topic

_ANSWER_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 30.0  # new partitions elect leaders, deleted ones disappear, within a second or two
_POLL_SECONDS: Final = 0.05
_TO_MEND: Final = "run `stateset topics apply`"

T = TypeVar("T")


class BrokerAwayError(StartupError):
    """The broker does not answer: for who can start without it, no obstacle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which a topic is not as the table says.

    Attributes:
        topic: Its full name.
        what: `topic` if it is missing, `partitions`, `records` if some are lost that are to be kept for ever, or the
            key of its configuration that differs.
        found: What the broker has; nothing if the topic is missing.
        wanted: What the table says.
    """

    topic: str
    what: str
    found: str
    wanted: str

    @property
    def is_missing(self) -> bool:
        """Whether there is no such topic."""
        return self.what == "topic"

    @property
    def is_lost(self) -> bool:
        """Whether only another topic mends it, filled anew."""
        return self.what == "records"

    def __str__(self) -> str:
        """One line."""
        if self.is_missing:
            return f"{self.topic}: missing"
        if self.is_lost:
            return (
                f"{self.topic}: records below {self.found} are deleted, and should be {self.wanted}; "
                "`stateset topics reset` makes it anew, to be filled from the log"
            )
        return f"{self.topic}: {self.what} is {self.found}, and should be {self.wanted}"

    @property
    def mended(self) -> str:
        """One line about it, once it is no more."""
        return f"{self.topic}: made" if self.is_missing else f"{self.topic}: {self.what} set to {self.wanted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A topic as the broker has it."""

    partitions: int
    config: Mapping[str, str]
    first_offsets: Mapping[int, int] = field(default_factory=dict)

    @property
    def lost_below(self) -> str:
        """Where its first partition begins that has lost its begin; empty if none has."""
        cut = {partition: offset for partition, offset in self.first_offsets.items() if offset}
        return next((f"offset {offset} of partition {partition}" for partition, offset in sorted(cut.items())), "")


def differences(topic: Topic, found: Found | None, *, shards: int, prefix: str) -> list[Difference]:
    """How the broker's topic differs from the table's; nothing if it does not."""
    name = topic.name(prefix)
    if found is None:
        return [Difference(topic=name, what="topic", found="", wanted=topic.base_name)]
    has = {"partitions": str(found.partitions), **found.config}
    wants = {"partitions": str(shards), **topic.config}
    differ = [
        Difference(topic=name, what=what, found=has.get(what, "unset"), wanted=wanted)
        for what, wanted in wants.items()
        if has.get(what) != wanted
    ]
    # Compaction leaves a partition's first offset as it is: above 0, the last record of some key may be gone.
    if topic.is_compacted and found.lost_below:
        differ.append(Difference(topic=name, what="records", found=found.lost_below, wanted="kept"))
    return differ


class TopicAdmin:
    """The topics of one installation on one broker, with as many partitions as its log has `shards`.

    Every method raises `StartupError`, in one line, when the broker refuses: `BrokerAwayError` when it does not answer.
    """

    def __init__(self, cluster: Cluster, *, shards: int, prefix: str) -> None:
        self.shards = shards
        self._servers = cluster.servers
        self._config_file = cluster.config_file
        self._prefix = prefix
        self._ear = Ear()
        self._client = AdminClient(cluster.client(self._ear.hear))

    async def partitions(self) -> int | None:
        """How many the topics have; none where there is no topic.

        Raises:
            StartupError: One has others than another.
        """
        found = await self._partitions()
        if len(found) > 1:
            numbers = " and ".join(map(str, found))
            raise StartupError(f"the topics have {numbers} partitions: say with --shards how many the log has")
        return found[0] if found else None

    async def fewest_partitions(self) -> int | None:
        """How many each topic has at least; none where there is no topic. A broker adds some, and takes none away."""
        return next(iter(await self._partitions()), None)

    async def diff(self) -> list[Difference]:
        """How the broker's topics differ from the table."""
        return [
            difference
            for topic in TOPICS
            for difference in differences(topic, await self._found(topic), shards=self.shards, prefix=self._prefix)
        ]

    async def provide(self) -> list[Difference]:
        """Makes the topics where none of them is there, and changes none that is; returns what was made, or differs.

        Raises:
            StartupError: One is missing among others, or has another number of partitions. Nothing was changed.
        """
        found = await self.diff()
        _refuse_partitions(found)
        missing = [difference for difference in found if difference.is_missing]
        if len(missing) == len(TOPICS):
            await self._create(TOPICS)
            await self._settle(leaders=True)
        elif missing:
            raise StartupError(f"{missing[0]}, and others are there; {_TO_MEND}")
        return found

    async def apply(self) -> list[Difference]:
        """Makes what is missing and corrects configurations; returns what was changed, and what only `reset` mends.

        Raises:
            StartupError: A topic has another number of partitions. Nothing was changed.
        """
        found = await self.diff()
        _refuse_partitions(found)
        for topic in TOPICS:
            mine = [difference for difference in found if difference.topic == topic.name(self._prefix)]
            if any(difference.is_missing for difference in mine):
                await self._create([topic])
            elif to_correct := [difference for difference in mine if not difference.is_lost]:
                await self._correct(topic, to_correct)
        await self._settle(leaders=True)
        return found

    async def reset(self) -> None:
        """Deletes the topics with all their records and makes them anew."""
        await self.delete()
        await self.apply()

    async def delete(self) -> None:
        """Deletes the topics with all their records; those that are missing are no matter."""
        names = [topic.name(self._prefix) for topic in TOPICS]
        for future in self._client.delete_topics(names, request_timeout=_ANSWER_SECONDS).values():
            await self._answer(future, unless=KafkaError.UNKNOWN_TOPIC_OR_PART)
        await self._settle(leaders=False)

    async def _partitions(self) -> list[int]:
        """The different numbers of them, the lowest first."""
        return sorted({len(each.partitions) for topic in TOPICS if (each := await self._describe(topic)) is not None})

    async def _found(self, topic: Topic) -> Found | None:
        description = await self._describe(topic)
        if description is None:
            return None
        resource = ConfigResource(ResourceType.TOPIC, topic.name(self._prefix))
        [future] = self._client.describe_configs([resource], request_timeout=_ANSWER_SECONDS).values()
        entries: dict[str, ConfigEntry] | None = await self._answer(future)
        config = {key: str(entry.value) for key, entry in (entries or {}).items()}
        first = await self._first_offsets(description) if topic.is_compacted and _leads(description) else {}
        return Found(partitions=len(description.partitions), config=config, first_offsets=first)

    async def _first_offsets(self, topic: TopicDescription) -> Mapping[int, int]:
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic.name, each.id): earliest for each in topic.partitions}
        told = self._client.list_offsets(asked, request_timeout=_ANSWER_SECONDS)
        # Where a leader does not know yet that it is one, as right after the topic was made, nothing is said of losses.
        answers = {
            each.partition: await self._answer(future, unless=KafkaError.NOT_LEADER_FOR_PARTITION)
            for each, future in told.items()
        }
        return {partition: answer.offset for partition, answer in answers.items() if answer}

    async def _describe(self, topic: Topic) -> TopicDescription | None:
        names = TopicCollection([topic.name(self._prefix)])
        [future] = self._client.describe_topics(names, request_timeout=_ANSWER_SECONDS).values()
        return await self._answer(future, unless=KafkaError.UNKNOWN_TOPIC_OR_PART)

    async def _create(self, topics: Iterable[Topic]) -> None:
        """Makes them by one request, so that who is killed meanwhile leaves all of them or none."""
        # As many replicas as the broker makes by default: how a cluster keeps its records is its own affair.
        new = [NewTopic(topic.name(self._prefix), self.shards, config=dict(topic.config)) for topic in topics]
        for future in self._client.create_topics(new, request_timeout=_ANSWER_SECONDS).values():
            await self._answer(future, unless=KafkaError.TOPIC_ALREADY_EXISTS)

    async def _correct(self, topic: Topic, found: Iterable[Difference]) -> None:
        entries = [
            ConfigEntry(difference.what, difference.wanted, incremental_operation=AlterConfigOpType.SET)
            for difference in found
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic.name(self._prefix), incremental_configs=entries)
        [future] = self._client.incremental_alter_configs([resource], request_timeout=_ANSWER_SECONDS).values()
        await self._answer(future)

    async def _settle(self, *, leaders: bool) -> None:
        """Waits until every partition has a leader, or until no topic is left."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while not all([_leads(await self._describe(topic)) is leaders for topic in TOPICS]):
            if time.monotonic() > deadline:
                raise StartupError(f"Kafka at {self._servers} did not settle within {_SETTLE_SECONDS:.0f} s; try again")
            await asyncio.sleep(_POLL_SECONDS)

    async def _answer(self, future: "Future[T]", *, unless: int | None = None) -> T | None:
        """The broker's answer; none if it answers with the one error that is no matter."""
        answer = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS + 1):
                while not answer.done():
                    self._refuse_a_refusal()
                    await asyncio.wait({answer}, timeout=_POLL_SECONDS)
                return await answer
        except KafkaException as error:
            refusal = kafka_error(error)
            if refusal.code() == unless:
                return None
            if refusal.code() in AWAY:
                why = self._ear.reason(refusal).str()
                raise BrokerAwayError(f"no Kafka answers at {self._servers} ({why})") from error
            raise StartupError(f"Kafka at {self._servers}: {refusal.str()}") from error
        except TimeoutError as error:
            raise BrokerAwayError(f"no Kafka answers at {self._servers}") from error

    def _refuse_a_refusal(self) -> None:
        """Who is not let in asks again and again, for as long as the request may take."""
        self._client.poll(0)
        if self._ear.refusal is not None:
            raise StartupError(
                f"there is no way into Kafka at {self._servers} ({self._ear.refusal.str()}): mend {self._config_file}"
            )


def _refuse_partitions(found: Iterable[Difference]) -> None:
    for difference in found:
        if difference.what == "partitions":
            raise StartupError(
                f"topic {difference.topic} has {difference.found} partitions, and the log {difference.wanted} shards: "
                "use a log with as many shards, another --topic-prefix, or "
                f"`stateset topics reset --shards {difference.wanted}`"
            )


def _leads(description: TopicDescription | None) -> bool:
    return description is not None and all(partition.leader is not None for partition in description.partitions)
