"""What is looked at before anything is started or written: settings, the data folder, ports and database files."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from consumers.cli.arguments import EMBEDDED_POSTGRES, SQLITE
from consumers.cli.bus import CLIENT_CONFIG_VARIABLE, SERVERS_VARIABLE, Bus, direct
from consumers.cli.database import LocalPostgres, Postgres
from consumers.cli.system import HOST, LOGS, SERVICES, Kafka, Plan, Worker
from infra.runtime.addresses import held
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import LocalBroker
from infra.runtime.lifespan import SUPERVISED, StartupError
from infra.runtime.sqlite import has_rows, refuse_foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """By service, the port of its RPCs and of its metrics; the gateway's; those of what is ours beneath. 0: any."""

    grpc: Mapping[str, int]
    admin: Mapping[str, int]
    http: int = 0
    kafka: int = 0
    postgres: int = 0


ANY_PORTS: Final = Ports(
    grpc={service.name: 0 for service in SERVICES}, admin={service.name: 0 for service in SERVICES}
)
_ORDER: Final = SERVICES[0]
_POSTGRES: Final = "postgres"  # the folder in the data folder
_DIRECT: Final = direct("as asked")


@contextmanager
def prepare(
    data_dir: Path,
    ports: Ports,
    bus: Bus = _DIRECT,
    *,
    topic_prefix: str = "",
    database: str = SQLITE,
    order_workers: int = 1,
) -> Iterator[Plan]:
    """Checks everything that can be checked, then holds the data folder for this process while the context lasts.

    Args:
        data_dir: Made if it is missing.
        ports: Where to listen.
        bus: How events travel.
        topic_prefix: Begins the names of the topics.
        database: As the option of that name has it.
        order_workers: Processes of the Order Service.

    Raises:
        StartupError: Something is in the way. Nothing was changed.
    """
    refuse_unknown_settings(os.environ)
    if order_workers > 1 and database == SQLITE:
        raise StartupError(
            f"--order-workers {order_workers} needs PostgreSQL, as a SQLite file serves one process: add "
            f"--database {EMBEDDED_POSTGRES} or --database postgresql://…"
        )
    _refuse_unwritten(data_dir)
    with ExitStack() as stack:
        existed = data_dir.is_dir()
        if existed:
            stack.enter_context(_held_alone(data_dir))
        for folder in (data_dir, data_dir / LOGS):
            refuse_unwritable(folder)
        plan = _plan(data_dir, ports, bus, topic_prefix, database, order_workers)
        for service in SERVICES if plan.postgres is None else ():
            refuse_foreign(plan.file(service), service.name, service.migrations)
        if not existed:
            _make_folder(data_dir)
            stack.enter_context(_held_alone(data_dir))
        yield plan


def refuse_unknown_settings(environment: Mapping[str, str]) -> None:
    """Refuses a `STATESET_…` variable that no service reads; a misspelt one would otherwise do nothing, silently.

    Raises:
        StartupError: There is one; the message names it.
    """
    known = {f"STATESET_{service.name.upper()}_{name}" for service in SERVICES for name in service.settings}
    known |= {SERVERS_VARIABLE, CLIENT_CONFIG_VARIABLE}
    for name in sorted(environment):
        if name.startswith("STATESET_") and name not in known | {SUPERVISED}:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "unset it"
            raise StartupError(f"unknown setting {name} in the environment: {hint}")


def refuse_another_log(plan: Plan) -> None:
    """Refuses to begin a log where the data folder holds one on another database, which nobody would read any more.

    A server of others may have a log already: see `unread_orders`.

    Raises:
        StartupError: The message says where that one is.
    """
    file, cluster = _own_databases(plan.data_dir)
    in_file = has_rows(file, _ORDER.name, "orders")
    if plan.postgres is None and cluster.exists and not in_file:
        raise StartupError(
            _another(f"{cluster.folder} is a PostgreSQL of ours", EMBEDDED_POSTGRES, str(cluster.folder))
        )
    if plan.postgres is not None and plan.postgres.server is not None and in_file and not cluster.exists:
        raise StartupError(_another(f"{file} holds orders", SQLITE, f"{file}*"))


def unread_orders(plan: Plan) -> str:
    """Says what is in the data folder of which a system on a server of others reads nothing; empty if nothing is."""
    file, cluster = _own_databases(plan.data_dir)
    if plan.postgres is None or plan.postgres.server is not None:
        return ""
    here = [str(file)] if has_rows(file, _ORDER.name, "orders") else []
    here += [str(cluster.folder)] if cluster.exists else []
    return f"{' and '.join(here)}: not read, the orders are those of {plan.postgres.shown}" if here else ""


def _own_databases(data_dir: Path) -> tuple[Path, LocalPostgres]:
    return data_dir / f"{_ORDER.name}.db", LocalPostgres(folder=data_dir / _POSTGRES, port=0)


def _another(found: str, database: str, away: str) -> str:
    return (
        f"{found}, and this would begin another log beside it: go on with --database {database}, move {away} away, "
        "or name another folder with --data-dir"
    )


def refuse_unwritable(folder: Path) -> None:
    """Looks whether files can be made in the folder, if it is there; if not, that shows when it is made.

    Raises:
        StartupError: They cannot.
    """
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise StartupError(f"cannot write to the folder {folder}: name another with --data-dir")


def _refuse_unwritten(folder: Path) -> None:
    """Java, and a URL, can name no file whose name is not written in UTF-8."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise StartupError(
            f"the folder {os.fsencode(folder)!r} has a name that is not UTF-8: name another with --data-dir"
        ) from error


def _plan(data_dir: Path, ports: Ports, bus: Bus, topic_prefix: str, database: str, order_workers: int) -> Plan:
    chosen: dict[int, str] = {}
    with ExitStack() as stack:  # all stay bound until the last is chosen, so that none is chosen twice

        def free(port: int, option: str) -> int:
            if port and chosen.setdefault(port, option) != option:
                raise StartupError(f"{chosen[port]} and {option} are both {port}: choose another for one of them")
            return stack.enter_context(held(f"{HOST}:{port}", otherwise=f"choose another with {option}"))

        grpc = {name: f"{HOST}:{free(port, f'--{name}-port')}" for name, port in ports.grpc.items()}
        admin = {name: f"{HOST}:{free(port, f'--{name}-admin-port')}" for name, port in ports.admin.items()}
        http = f"{HOST}:{free(ports.http, '--http-port')}"
        workers = [
            Worker(
                name="order" if number == 1 else f"order-{number}",
                grpc=f"{HOST}:{free(0, '--order-port')}",
                admin=admin["order"] if number == 1 else f"{HOST}:{free(0, '--order-admin-port')}",
            )
            for number in range(1, order_workers + 1)
        ]
        broker = None
        if bus.installation is not None:
            broker = LocalBroker(
                installation=bus.installation,
                folder=data_dir / "kafka",
                port=free(ports.kafka, "--kafka-port"),
                controller_port=free(0, "--kafka-port"),
            )
        server = None
        if database == EMBEDDED_POSTGRES:
            server = LocalPostgres(folder=data_dir / _POSTGRES, port=free(ports.postgres, "--postgres-port"))
    cluster = Cluster(servers=broker.address) if broker else bus.cluster
    kafka = Kafka(cluster=cluster, topic_prefix=topic_prefix, broker=broker) if cluster else None
    postgres = None if database == SQLITE else Postgres(url=server.url if server else database, server=server)
    return Plan(
        data_dir=data_dir,
        grpc=grpc,
        admin=admin,
        http=http,
        kafka=kafka,
        postgres=postgres,
        order_workers=workers if order_workers > 1 else (),
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(f"cannot make the folder {path} ({error.strerror}): name another with --data-dir") from error


@contextmanager
def _held_alone(folder: Path) -> Iterator[None]:
    """Locks the folder itself: that needs no file of its own, and ends with the process."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(
            f"cannot use the folder {folder} ({error.strerror}): name another with --data-dir"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StartupError(
            f"another stateset already runs on {folder}: stop that one, or name another folder with --data-dir"
        ) from error
    try:
        yield
    finally:
        os.close(handle)
