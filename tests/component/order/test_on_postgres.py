"""The writer on a real PostgreSQL: what others lock, refuse, fence, cut and kill."""

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import asyncpg
import grpc.aio
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.util import await_only
from stateset.order.v1 import order_service_pb2
from structlog.testing import capture_logs

from infra.kernel.filter import EVERYTHING
from infra.kernel.shard import shard_of
from infra.runtime.clock import SystemClock
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.lifespan import StartupError
from infra.runtime.postgres import preparation, silence
from infra.runtime.sql import open_database, refuse_in_use
from order.adapters.sql_epoch import begin_epoch
from order.adapters.sql_log import SqlLog, open_log
from order.adapters.wire import WireCodec
from order.application.group import Reply
from order.application.heads import Heads
from order.application.ports import Needs, Outcome, StoredReply, View, Writes
from order.application.writer import Writer, WriterLimits
from order.domain.errors import LogHoleError, RequestFencedError, StoreUnavailableError
from order.domain.policy import Policy
from order.main import MIGRATIONS
from order.new_epoch import renew
from tests.harness.order_service import order_service, refused
from tests.harness.orders import place, place_request, submission
from tests.harness.ports import free_ports
from tests.harness.postgres import fresh_database, mortal_server, own_folder
from tests.harness.tcp_link import Link
from tests.harness.tcp_proxy import CommitCutter, Moment
from tests.harness.waiting import eventually_async

SHARDS = 3
KEY = ("local", "request-a")


@dataclass(frozen=True, slots=True)
class Process:
    """What writes to the log in one process."""

    log: SqlLog
    writer: Writer


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Process]:
    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        log = await open_log(database, SHARDS)
        heads = Heads(log.log_epoch, [1] * SHARDS)
        writer = Writer(log, WireCodec(log.log_epoch, SHARDS), heads, SystemClock(), WriterLimits(), Policy())
        async with writer.running():
            yield Process(log, writer)


@pytest.fixture
async def url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as fresh:
        yield fresh


@pytest.fixture
async def ours(url: str) -> AsyncIterator[Process]:
    async with process(url) as running:
        yield running


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[Any]:
    """Somebody else's connection, in a transaction that is rolled back unless they commit."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "stateset_order"})
    try:
        await connection.execute("BEGIN")
        yield connection
    finally:
        await connection.close()


async def orders_in(log: SqlLog) -> int:
    return (await log.digest(EVERYTHING))[1].count


async def test_a_value_that_the_database_refuses_spoils_its_own_command_alone(ours: Process) -> None:
    commands = [place(1, order_id=f"o-{number}") for number in range(5)]
    commands[2] = commands[2]._replace(store_id="s\0")
    told = await asyncio.gather(*(ours.writer.submit(submission(each)) for each in commands), return_exceptions=True)
    assert [isinstance(each, Reply) for each in told] == [True, True, False, True, True]
    assert await orders_in(ours.log) == 4


async def test_a_connection_that_is_cut_between_two_groups_holds_up_nobody(url: str, ours: Process) -> None:
    await ours.writer.submit(submission(place(1, order_id="o-1")))
    async with stranger(url) as somebody:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stateset_order'"
        assert await somebody.fetch(cut)
    assert not (await ours.writer.submit(submission(place(1, order_id="o-2")))).refused


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no such time-out")
async def test_a_server_that_is_gone_without_a_word_is_given_ten_seconds(url: str) -> None:
    def options(connection: Connection) -> list[int]:
        driver: Any = connection.connection.driver_connection
        connected = driver._transport.get_extra_info("socket")  # noqa: SLF001 - as the code under test
        asked = [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
        return [connected.getsockopt(*option) for option in asked]

    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        assert await database.write(options) == [10_000, 1]
        assert await database.read(options) == [10_000, 1]


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system does not say when something came")
async def test_sessions_that_something_has_swallowed_are_left_and_nothing_is_lost(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither end is told. What was under way is found out about before it is answered, and reads go on as well."""
    monkeypatch.setattr(silence, "_ANSWER_SECONDS", 1.0)
    server = make_url(url)
    link = Link(f"{server.host}:{server.port}")
    async with link.listening() as address:
        host, _, port = address.rpartition(":")
        there = server.set(host=host, port=int(port)).render_as_string(hide_password=False)
        async with process(there) as swallowed:
            for number in range(3):
                await asyncio.gather(*(orders_in(swallowed.log) for _ in range(8)))
                link.go_dead()
                commands = [place(1, order_id=f"o-{number}-{each}") for each in range(3)]
                submitted = [swallowed.writer.submit(submission(each)) for each in commands]
                async with asyncio.timeout(20):
                    told = await asyncio.gather(*submitted, orders_in(swallowed.log), return_exceptions=True)
                    assert all(isinstance(each, (Reply, int, StoreUnavailableError)) for each in told), told
                    for command in commands:
                        assert not (await swallowed.writer.submit(submission(command))).refused
                    for _ in range(8):
                        assert await orders_in(swallowed.log) == 3 * (number + 1), "no other old session is tried"


async def test_what_takes_its_time_is_not_silence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_ANSWER_SECONDS", 0.5)

    def take_time(connection: Connection) -> int:
        return sum(connection.execute(text("SELECT 1 FROM pg_sleep(0.2)")).scalar_one() for _ in range(6))

    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        assert await database.read(take_time) == 6


async def test_a_locked_shard_holds_up_its_own_commands_alone(url: str, ours: Process) -> None:
    ids = [f"o-{number}" for number in range(6)]
    locked = shard_of(ids[0], SHARDS)
    assert len({shard_of(each, SHARDS) for each in ids}) > 1
    async with stranger(url) as somebody:
        await somebody.execute("SELECT * FROM shard_heads WHERE shard = $1 FOR UPDATE", locked)
        told = await asyncio.gather(
            *(ours.writer.submit(submission(place(1, order_id=each))) for each in ids), return_exceptions=True
        )
    kinds = [StoreUnavailableError if shard_of(each, SHARDS) == locked else Reply for each in ids]
    assert [type(each) for each in told] == kinds
    assert isinstance(await ours.writer.submit(submission(place(1, order_id=ids[0]))), Reply)


async def test_a_log_that_has_lost_its_last_commits_gives_no_number_again(url: str) -> None:
    async with process(url) as ours:
        ids = [f"o-{number}" for number in range(9)]
        for each in ids:
            await ours.writer.submit(submission(place(1, order_id=each)))
        lost = shard_of("o-0", SHARDS)
        async with stranger(url) as standby:  # that was promoted, and has not heard of the shard's last commit
            await standby.execute("UPDATE shard_heads SET next_seq = next_seq - 1 WHERE shard = $1", lost)
            await standby.execute(
                "DELETE FROM order_events WHERE (shard, seq) IN (SELECT shard, next_seq FROM shard_heads)"
            )
            await standby.execute("COMMIT")
        told = await asyncio.gather(
            *(ours.writer.submit(submission(place(1, order_id=f"{each}-next"))) for each in ids), return_exceptions=True
        )
    for each, answer in zip(ids, told, strict=True):
        assert isinstance(answer, LogHoleError if shard_of(f"{each}-next", SHARDS) == lost else Reply)
    assert any(isinstance(answer, LogHoleError) for answer in told)
    assert any(isinstance(answer, Reply) for answer in told)


async def test_a_locked_row_holds_up_its_own_command_alone(url: str, ours: Process) -> None:
    ids = [each for each in (f"o-{number}" for number in range(20)) if shard_of(each, SHARDS) == 0][:4]
    commands = [submission(place(1, order_id=each)) for each in ids]
    commands[2] = submission(place(1, order_id=ids[2]), request_id=KEY[1])
    async with stranger(url) as somebody:
        await somebody.execute("INSERT INTO idempotency VALUES ($1, $2, 'PlaceOrder', 0, 'reply', 1, '')", *KEY)
        told = await asyncio.gather(*map(ours.writer.submit, commands), return_exceptions=True)
    assert [isinstance(each, Reply) for each in told] == [True, True, False, True]
    assert isinstance(told[2], StoreUnavailableError)
    assert await orders_in(ours.log) == 3


async def test_a_fence_waits_for_a_transaction_in_flight(url: str, ours: Process) -> None:
    async with stranger(url) as somebody:
        await somebody.execute(
            "INSERT INTO idempotency VALUES ($1, $2, 'PlaceOrder', 0, 'reply', 1, '')", KEY[0], KEY[1]
        )
        fence = asyncio.create_task(ours.log.fence(KEY, 2))

        async def waits() -> bool:
            return bool(await somebody.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await eventually_async(waits)
        await somebody.execute("COMMIT")
        assert await fence == StoredReply(outcome=Outcome.COMMITTED, method="PlaceOrder", reply=b"reply")


async def test_a_subscription_that_two_processes_make_at_once_is_made_once(url: str, ours: Process) -> None:
    async with process(url) as other:
        for number in range(10):
            epochs = await asyncio.gather(*(each.log.open_subscription(f"new-{number}") for each in (ours, other)))
            assert sorted(epoch for epoch, _ in epochs) == [1, 2]


async def test_floors_that_move_while_their_reader_is_forgotten_are_forgotten_too(url: str, ours: Process) -> None:
    epoch, _ = await ours.log.open_subscription("gone")
    assert await ours.log.move_floors("gone", epoch, {1: 1})
    async with process(url) as other, stranger(url) as somebody:

        async def waits(tasks: int) -> None:
            count = "SELECT count(*) FROM pg_locks WHERE NOT granted"

            async def enough() -> bool:
                return int(await somebody.fetchval(count)) >= tasks

            await eventually_async(enough)

        await somebody.execute("SELECT * FROM log_floors FOR UPDATE")
        move = asyncio.create_task(ours.log.move_floors("gone", epoch, {0: 9, 1: 9}))
        await waits(1)
        forget = asyncio.create_task(other.log.forget_reader("gone"))
        await waits(2)
        await somebody.execute("COMMIT")
        assert await move
        assert await forget
    assert (await ours.log.open_subscription("gone"))[1] == {}


async def test_a_command_that_is_fenced_in_its_transaction_is_not_carried_out(url: str, ours: Process) -> None:
    async with process(url) as other:

        async def commit(needs: Needs, decide: Callable[[View], Writes]) -> None:
            def decide_late(view: View) -> Writes:
                writes = decide(view)
                await_only(other.log.fence(KEY, 1))
                return writes

            await SqlLog.commit(ours.log, needs, decide_late)

        ours.log.commit = commit  # type: ignore[method-assign]
        with pytest.raises(RequestFencedError):
            await ours.writer.submit(submission(place(3), request_id=KEY[1]))
    assert await orders_in(ours.log) == 0


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_whose_end_is_not_known_is_resolved_before_anybody_is_answered(url: str, moment: Moment) -> None:
    commits = CommitCutter()
    server = make_url(url)
    async with (
        commits.listening(server.port or 5432) as port,
        process(server.set(port=port).render_as_string(hide_password=False)) as cut,
    ):
        await cut.writer.submit(submission(place(1, order_id="o-1")))
        commits.arm("stateset_order", moment)
        told = await cut.writer.submit(submission(place(1, order_id="o-2"), request_id=KEY[1]))
        stored = await cut.log.read_reply(KEY)
        assert await orders_in(cut.log) == 2
    assert commits.cuts == {("stateset_order", moment): 1}
    assert stored is not None
    assert (stored.outcome, stored.reply) == (Outcome.COMMITTED, told.body)
    assert told.replayed == (moment == "after")


async def test_a_server_that_takes_no_writes_for_a_while_is_told_and_used_again(
    postgres_server: str, tmp_path: Path
) -> None:
    async with fresh_database(postgres_server) as url, order_service(tmp_path, database=url) as service:
        await service.place(3, order_id="o-1")
        read_only = f'ALTER DATABASE "{make_url(url).database}" SET default_transaction_read_only'
        await administer(url, f"{read_only} = on")
        request = place_request(3, order_id="o-2", request_id=KEY[1])
        told = refused(await refusal(lambda: service.orders.PlaceOrder(request)))
        assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        await service.orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-1"))
        await administer(url, f"{read_only} = off")

        async def placed() -> bool:
            with suppress(grpc.aio.AioRpcError):
                await service.orders.PlaceOrder(request)
                return True
            return False

        await eventually_async(placed, within_seconds=30)


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
        ("ALTER DATABASE {database} CONNECTION LIMIT 0", "ALTER DATABASE {database} CONNECTION LIMIT -1"),
        (
            "REVOKE ALL ON ALL TABLES IN SCHEMA stateset_order FROM {role}",
            "GRANT ALL ON ALL TABLES IN SCHEMA stateset_order TO {role}",
        ),
    ],
)
async def test_a_right_that_was_taken_away_is_missed_until_it_is_given_back(url: str, taken: str, given: str) -> None:
    async with service_role(url) as own:
        names = {"role": make_url(own).username, "database": make_url(url).database}
        await administer(url, f"CREATE SCHEMA stateset_order AUTHORIZATION {names['role']}")
        async with process(own) as ours:
            await ours.writer.submit(submission(place(1, order_id="o-1")))
            await administer(url, taken.format(**names))
            with pytest.raises(StoreUnavailableError):
                await ours.writer.submit(submission(place(1, order_id="o-2")))
            with pytest.raises(StoreUnavailableError):
                await ours.log.heads()
            await administer(url, given.format(**names))
            assert not (await ours.writer.submit(submission(place(1, order_id="o-3")))).refused
            assert await orders_in(ours.log) == 2


@pytest.mark.parametrize(
    ("asked", "given"),
    [("search_path\0stateset_order", "search_path\0anything_else_"), ("lock_timeout\x002s", "lock_timeout\x000s")],
)
async def test_a_pooler_that_ignores_what_it_is_asked_for_is_refused(url: str, asked: str, given: str) -> None:
    server = make_url(url)

    async def open_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(server.host, server.port)
        begin = await reader.read(4096)
        to_server[1].write(begin.replace(asked.encode(), given.encode()))
        await asyncio.gather(copy(reader, to_server[1]), copy(to_server[0], writer))

    async with await asyncio.start_server(open_session, "127.0.0.1", 0) as pooler:
        before_it = server.set(host="127.0.0.1", port=pooler.sockets[0].getsockname()[1], query={"ssl": "disable"})
        with pytest.raises(StartupError, match=r"sessions have \w+ = \w+ although \w+ is asked"):
            await process(before_it.render_as_string(hide_password=False)).__aenter__()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(4096):
            writer.write(chunk)
    writer.close()


async def test_what_a_database_is_set_to_changes_nothing(url: str, tmp_path: Path) -> None:
    database = make_url(url).database
    for setting in ("standard_conforming_strings = off", "bytea_output = escape", "DateStyle = German"):
        await administer(url, f"ALTER DATABASE {database} SET {setting}")
    async with order_service(tmp_path, database=url) as service:
        placed = await service.place(3, order_id="o-1")
        read = order_service_pb2.GetOrderRequest(order_id="o-1")
        assert (await service.orders.GetOrder(read)).order == placed.order


async def test_sessions_wait_for_the_disk_whatever_the_database_is_set_to_meanwhile(url: str) -> None:
    def waits(connection: Connection) -> str:
        return str(connection.execute(text("SHOW synchronous_commit")).scalar_one())

    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        for told, held in (("off", "on"), ("remote_apply", "remote_apply")):
            await administer(url, f"ALTER DATABASE {make_url(url).database} SET synchronous_commit = {told}")
            for use in (database.read, database.write):
                assert await once_it_answers(use, waits) == held


async def test_a_database_whose_commits_do_not_wait_for_the_disk_is_refused(url: str) -> None:
    await administer(url, f"ALTER DATABASE {make_url(url).database} SET synchronous_commit = off")
    with pytest.raises(StartupError, match="synchronous_commit = off"):
        async with process(url):
            pytest.fail("it started")


async def once_it_answers(
    use: Callable[[Callable[[Connection], str]], Awaitable[str]], work: Callable[[Connection], str]
) -> str:
    """The answer of a database whose sessions were ended: each of them shows that once."""
    async with asyncio.timeout(20):
        while True:
            with suppress(DatabaseUnavailableError):
                return await use(work)


async def test_a_database_that_takes_no_writes_is_refused_in_words_of_ours_and_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(url):
        pass
    read_only = f"ALTER DATABASE {make_url(url).database} SET default_transaction_read_only"
    await administer(url, f"{read_only} = on")
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "REACH_SECONDS", 0)
        with pytest.raises(StartupError, match=r"transactions are read only.* default_transaction_read_only = off"):
            await process(url).__aenter__()
    starting = asyncio.create_task(log_epoch_of(url))
    await eventually_async(lambda: has_session(url))
    await administer(url, f"{read_only} = off")
    assert await starting


async def test_a_standby_is_refused_in_words_of_ours_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_folder()
    with mortal_server(folder) as server:
        await server.start()
        async with process(server.url):
            pass
        server.stop()
        await asyncio.to_thread((folder / "standby.signal").touch)
        await server.start()
        with monkeypatch.context() as patch:
            patch.setattr(preparation, "REACH_SECONDS", 0)
            with pytest.raises(StartupError, match="is a standby: promote it, or name the primary with --database"):
                await process(server.url).__aenter__()
        starting = asyncio.create_task(log_epoch_of(server.url))
        await eventually_async(lambda: has_session(server.url))
        promoter = await asyncpg.connect(server.url)
        assert await promoter.fetchval("SELECT pg_promote()")
        await promoter.close()
        assert await starting


async def has_session(url: str) -> bool:
    async with stranger(url) as somebody:
        return bool(await somebody.fetchval("SELECT 1 FROM pg_stat_activity WHERE application_name = 'stateset_order'"))


async def test_a_database_that_has_not_every_character_is_refused(url: str) -> None:
    name = f"latin_{uuid.uuid4().hex}"
    await administer(url, f"CREATE DATABASE {name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StartupError, match="LATIN1, has not every character"):
        await process(make_url(url).set(database=name).render_as_string(hide_password=False)).__aenter__()
    await administer(url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_role_that_may_make_no_schema_serves_the_one_that_was_made_for_it(url: str) -> None:
    async with service_role(url) as own:
        with pytest.raises(StartupError, match=r"cannot use \S+ \(permission denied for database \w+\): see to that"):
            await process(own).__aenter__()
        await administer(url, f"CREATE SCHEMA stateset_order AUTHORIZATION {make_url(own).username}")
        async with process(own) as ours:
            assert not (await ours.writer.submit(submission(place(1)))).refused


@pytest.mark.parametrize("table", ["public.others", "stateset_order.orders"])
async def test_a_table_that_is_being_vacuumed_holds_up_no_start(url: str, table: str) -> None:
    async with process(url):
        pass
    async with stranger(url) as somebody:
        await somebody.execute("CREATE TABLE public.others AS SELECT 1 AS number; COMMIT; BEGIN")
        await somebody.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM and ANALYZE do
        async with process(url) as ours:
            assert not (await ours.writer.submit(submission(place(1)))).refused


async def test_a_start_analyzes_the_tables_of_its_own_schema_alone(url: str) -> None:
    async with stranger(url) as somebody:
        await somebody.execute("CREATE TABLE public.others AS SELECT 1 AS number; COMMIT")
        async with process(url):
            pass
        analyzed = "SELECT DISTINCT schemaname FROM pg_stats WHERE schemaname IN ('public', 'stateset_order')"
        assert [row["schemaname"] for row in await somebody.fetch(analyzed)] == ["stateset_order"]


async def test_a_start_does_without_statistics_where_they_cannot_be_had(url: str) -> None:
    async with service_role(url) as own:
        role, database = make_url(own).username, make_url(url).database
        await administer(url, f"CREATE SCHEMA stateset_order AUTHORIZATION {role}")
        async with process(own):
            pass
        # An index of somebody's own, whose function ANALYZE calls.
        function = "IF current_setting('fails.now', true) = 'yes' THEN RAISE 'no'; END IF; RETURN $1;"
        for statement in (
            f"CREATE FUNCTION fails(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN {function} END $$",
            "CREATE INDEX ON stateset_order.alembic_version (public.fails(version_num))",
            "UPDATE stateset_order.alembic_version SET version_num = version_num",
            f"ALTER DATABASE {database} SET fails.now = 'yes'",
        ):
            await administer(url, statement)
        with capture_logs() as told:
            async with process(own) as ours:
                assert not (await ours.writer.submit(submission(place(1)))).refused
    assert [each["event"] for each in told] == ["the tables could not be analyzed"]


async def test_what_a_start_has_waited_for_in_vain_comes_with_what_to_do_about_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "REACH_SECONDS", 0)
    async with service_role(url) as own:
        await administer(url, f"ALTER ROLE {make_url(own).username} CONNECTION LIMIT 0")
        with pytest.raises(StartupError, match=r"\(too many connections for role .*\): end others or raise the limit,"):
            await process(own).__aenter__()
    async with stranger(url) as somebody:
        await somebody.execute("SELECT pg_advisory_xact_lock($1)", crc32(b"stateset_order"))
        with pytest.raises(StartupError, match=r"\(.*lock timeout\): end the session that holds the lock,"):
            await process(url).__aenter__()
    [port] = free_ports(1)
    with pytest.raises(StartupError, match=r"\): start it, or name another with --database"):
        await process(make_url(url).set(port=port).render_as_string(hide_password=False)).__aenter__()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE TABLE stateset_order.orders (id int)", "orders"),
        ("CREATE SEQUENCE stateset_order.orders", "orders"),
        ("CREATE TYPE stateset_order.orders AS ENUM ('a')", "orders"),
        ("CREATE DOMAIN stateset_order.log AS int", "log"),
    ],
)
async def test_a_schema_of_that_name_that_is_somebody_elses_is_refused(url: str, statement: str, named: str) -> None:
    async with service_role(url) as own:
        await administer(
            url, f"CREATE SCHEMA stateset_order; GRANT ALL ON SCHEMA stateset_order TO {make_url(own).username}"
        )
        await administer(url, statement)  # whose owner has given nobody a right to it
        for whoever in (url, own):
            with pytest.raises(StartupError, match=f"^the schema stateset_order holds {named}, which is not ours: "):
                await process(whoever).__aenter__()


@asynccontextmanager
async def service_role(url: str) -> AsyncIterator[str]:
    """The URL with a role that may log in, and no more than everybody."""
    role = f"role_{uuid.uuid4().hex}"
    await administer(url, f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    yield make_url(url).set(username=role, password=role).render_as_string(hide_password=False)
    await administer(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def administer(url: str, statement: str) -> None:
    """As who takes a primary out of service: what is told holds for new sessions, and the others are ended."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(statement)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()


async def test_a_database_that_was_killed_is_told_and_used_again_once_it_is_back(tmp_path: Path) -> None:
    with mortal_server(own_folder()) as server:
        await server.start()
        async with order_service(tmp_path, database=server.url) as service:
            await service.place(3, order_id="o-1")
            server.kill()
            request = place_request(3, order_id="o-2", request_id=KEY[1])
            read = order_service_pb2.GetOrderRequest(order_id="o-1")
            for call in (lambda: service.orders.PlaceOrder(request), lambda: service.orders.GetOrder(read)):
                told = refused(await refusal(call))
                assert (told.code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
                assert told.retry_seconds is not None
            await server.start()

            async def placed() -> bool:
                with suppress(grpc.aio.AioRpcError):
                    await service.orders.PlaceOrder(request)
                    return True
                return False

            await eventually_async(placed, within_seconds=20)
            asked = order_service_pb2.GetCommandResultRequest(request_id=KEY[1], fence=True)
            result = await service.orders.GetCommandResult(asked)
            assert result.state == order_service_pb2.COMMAND_STATE_COMMITTED
            assert (await service.orders.GetOrder(read)).order.version == 1


async def refusal(call: Callable[[], Awaitable[object]]) -> grpc.aio.AioRpcError:
    """What the call ends with once it is refused: the sessions of a server that was killed outlive it by a moment."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                return error


async def test_a_log_is_given_no_new_epoch_while_any_session_of_the_service_is_open(url: str) -> None:
    async with process(url):
        pass
    news = await asyncpg.connect(url, server_settings={"application_name": "stateset_order_news"})
    try:
        with pytest.raises(StartupError, match=r"the order service runs on this database \(sessions: 1\)"):
            await renew(url, asyncio.Event())
    finally:
        await news.close()
    await eventually_async(lambda: renews(url))


async def renews(url: str) -> bool:
    """Whether the server has done with the last session by now."""
    with suppress(StartupError):
        await renew(url, asyncio.Event())
        return True
    return False


async def test_a_service_that_starts_meanwhile_waits_and_has_the_new_epoch(url: str) -> None:
    async with process(url) as first:
        before = first.log.log_epoch
    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        starting: list[asyncio.Task[str]] = []

        def work(connection: Connection) -> str:
            refuse_in_use(connection, "order")
            starting.append(asyncio.create_task(log_epoch_of(url)))
            await_only(asyncio.sleep(0.3))  # it has come as far as it can
            return begin_epoch(connection, str(uuid.uuid4()), 1, lambda: False).after

        after = await database.write(work)
        assert await starting[0] == after != before


async def log_epoch_of(url: str) -> str:
    async with process(url) as started:
        return started.log.log_epoch
