"""`stateset topics`: the topics on a broker, compared with the table, made, corrected, or begun anew."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import Final

from consumers.cli.arguments import SHARDS
from consumers.cli.asyncapi import document
from consumers.cli.console import complain, say
from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import EXIT_UNUSABLE, StartupError


def main(options: Namespace) -> int:
    """Runs the command; returns its exit code: 1 only from `diff`, if something differs."""
    if options.action == "asyncapi":
        shards = SHARDS if options.shards is None else options.shards
        say(document(prefix=options.topic_prefix, shards=shards).rstrip("\n"))
        return 0
    try:
        return asyncio.run(_on_broker(options))
    except StartupError as error:
        complain(str(error))
        return EXIT_UNUSABLE


async def _on_broker(options: Namespace) -> int:
    return await _ACTIONS[options.action](await _admin(options), options)


async def _admin(options: Namespace) -> TopicAdmin:
    """The topics, with the partitions that were asked for, else those that they have.

    Where they disagree, whoever only looks is shown which have more than others.
    """
    cluster = Cluster.read(options.bootstrap_servers, options.kafka_client_config)

    def of(shards: int) -> TopicAdmin:
        return TopicAdmin(cluster, shards=shards, prefix=options.topic_prefix)

    if options.shards is not None:
        return of(options.shards)
    supposed = of(SHARDS)
    found = await (supposed.fewest_partitions() if options.action == "diff" else supposed.partitions())
    return supposed if found is None else of(found)


async def _apply(admin: TopicAdmin, _: Namespace) -> int:
    found = await admin.apply()
    for difference in found:
        if not difference.is_lost:
            say(difference.mended)
    for difference in found:
        if difference.is_lost:
            raise StartupError(str(difference))
    say("The topics are as they should be.")
    return 0


async def _diff(admin: TopicAdmin, _: Namespace) -> int:
    found = await admin.diff()
    for difference in found:
        say(str(difference))
    return 1 if found else 0


async def _reset(admin: TopicAdmin, options: Namespace) -> int:
    if not options.yes:
        raise StartupError("reset deletes the topics with every record in them: say --yes as well")
    say(f"Deleting the topics and making them anew with {admin.shards} partitions each.")
    await admin.reset()
    say("The topics are new and empty; the Order Service's relay fills them again from its log.")
    return 0


_ACTIONS: Final[dict[str, Callable[[TopicAdmin, Namespace], Awaitable[int]]]] = {
    "apply": _apply,
    "diff": _diff,
    "reset": _reset,
}
