"""The commands and their options. Standard library, and tables: `stateset --help` answers before more is loaded."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from infra.kernel.shard import SHARDS_MAX
from infra.runtime.topics import PREFIX_CHARACTERS_MAX, PREFIX_PATTERN

ORDER_ADDRESS: Final = "127.0.0.1:50051"
SYNC_ADDRESS: Final = "127.0.0.1:50052"
KAFKA_PORT: Final = 9092
POSTGRES_PORT: Final = 5432
HTTP_PORT: Final = 8080
SQLITE: Final = "sqlite"
EMBEDDED_POSTGRES: Final = "embedded-postgres"
SHARDS: Final = 12
_DATA_DIR: Final = Path(".stateset")
_PORTS: Final = (
    ("order", 50051, 9101),
    ("sync", 50052, 9102),
    ("risk", 50061, 9103),
    ("portfolio", 50062, 9104),
    ("analytics", 50063, 9105),
)
_PORT_MAX: Final = 65_535
_COUNT_MAX: Final = 2**31 - 1  # what a field of a request can hold
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_DEMO: Final = (
    "Starts a system of its own on free ports, replays the first baskets of a real year of shopping through it, "
    "compares every total with the same sums made by DuckDB over the file, writes demo-report.json into the data "
    "folder, and stops. The system lives in the subfolder demo of the data folder; what an earlier demo left there is "
    "removed first, so that each run starts from nothing. The databases of `stateset up` are not touched. On a "
    "PostgreSQL that is there already it makes a database of its own, stateset_demo, in place of the one that an "
    "earlier demo made; on a Kafka that is there already, topics of its own, which it deletes in the end."
)
_TOPICS: Final = (
    "apply makes the topics that are missing and corrects the others; diff says what apply would do, and exits with 1 "
    "if that is something; reset deletes the topics and makes them anew; asyncapi prints their AsyncAPI document."
)
_LOG: Final = (
    "new-epoch is for a database of the Order Service that was restored from a backup: without it, readers that have "
    "seen more than the backup would take new events for those that they know. The log becomes another one, with the "
    "same events: positions, topics and databases of before are refused. Stop every Order Service first: one that is "
    "connected to the database is noticed, one that cannot reach it at this moment is not."
)


class Parser(argparse.ArgumentParser):
    """Refuses what it does not know with one line and exit code 2."""

    def parse_text(self, arguments: Sequence[str]) -> argparse.Namespace:
        """See `argparse.ArgumentParser.parse_args`; refuses bytes that are no text, which nothing can be asked with."""
        for argument in arguments:
            try:
                argument.encode()
            except UnicodeEncodeError:
                self.error(f"{os.fsencode(argument)!r} is not UTF-8")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """The whole command line. What it parses has `command`, the name of the chosen one, and that one's options."""
    top = Parser(prog="stateset", description="StateSet: orders in, events out, none lost and none twice.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, (summary, description, add_options) in _COMMANDS.items():
        add_options(commands.add_parser(name, help=summary, description=description, allow_abbrev=False))
    return top


def _up(options: argparse.ArgumentParser) -> None:
    _system(options)
    for name, grpc_port, admin_port in _PORTS:
        options.add_argument(
            f"--{name}-port",
            type=_port,
            default=grpc_port,
            metavar="PORT",
            help=f"gRPC port of {name} ({grpc_port}; 0: any free one)",
        )
        options.add_argument(
            f"--{name}-admin-port",
            type=_port,
            default=admin_port,
            metavar="PORT",
            help=f"metrics port of {name} ({admin_port}; 0: any free one)",
        )

    options.add_argument(
        "--http-port",
        type=_port,
        default=HTTP_PORT,
        metavar="PORT",
        help=f"port of the gateway: HTTP/JSON, server-sent events, WebSocket ({HTTP_PORT}; 0: any free one)",
    )
    options.add_argument(
        "--kafka-port",
        type=_port,
        default=KAFKA_PORT,
        metavar="PORT",
        help=f"port of a Kafka of our own ({KAFKA_PORT}; 0: any free one)",
    )
    options.add_argument(
        "--postgres-port",
        type=_port,
        default=POSTGRES_PORT,
        metavar="PORT",
        help=f"port of a PostgreSQL of our own ({POSTGRES_PORT}; 0: any free one)",
    )
    _topic_prefix(options)


def _demo(options: argparse.ArgumentParser) -> None:
    _system(options)
    options.add_argument(
        "--orders", type=_count, default=2000, metavar="N", help="how many baskets, from the first of the year (2000)"
    )
    options.add_argument(
        "--speed",
        type=_speed,
        default=None,
        metavar="max|FACTOR",
        help="as fast as it goes (max, the default), or so many times the speed of life: 3600 is an hour a second",
    )


def _system(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--data-dir", type=_folder, default=_DATA_DIR, metavar="FOLDER", help="where everything is kept (.stateset)"
    )
    options.add_argument(
        "--bus",
        choices=("auto", "kafka", "direct"),
        default="auto",
        help="how events travel. auto, the default: over the Kafka of STATESET_KAFKA_BOOTSTRAP_SERVERS; else over one "
        "of our own, if Java 17 and Maven are here; else directly",
    )
    options.add_argument(
        "--database",
        type=_database,
        default=SQLITE,
        metavar=f"{SQLITE}|{EMBEDDED_POSTGRES}|URL",
        help=f"where the services store what they know. {SQLITE}, the default: a file each in the data folder; "
        f"{EMBEDDED_POSTGRES}: a PostgreSQL of our own, which keeps its files there; postgresql://USER@HOST/DATABASE: "
        "one that is there, with a schema stateset_… for each service",
    )
    options.add_argument(
        "--order-workers",
        type=_count,
        default=1,
        metavar="N",
        help="processes of the Order Service, which share its port (1). More need PostgreSQL, and cores",
    )


def _place(options: argparse.ArgumentParser) -> None:
    _order_service(options)
    options.add_argument("--customer", required=True, metavar="ID", help="who orders")
    options.add_argument(
        "--line",
        required=True,
        action="append",
        dest="lines",
        metavar="PRODUCT:QUANTITY:PRICE",
        help="a product, how many, and what one costs, such as tea:2:1.99; repeat it for more lines",
    )
    options.add_argument("--currency", default="USD", metavar="CODE", help="currency of the prices (USD)")
    options.add_argument("--order-id", default="", metavar="ID", help="the new order's id (made by the service)")
    options.add_argument("--request-id", default="", metavar="ID", help="give the same one again to retry (made anew)")


def _get(options: argparse.ArgumentParser) -> None:
    _order_service(options)
    options.add_argument("order_id", metavar="ORDER_ID", help="the order's id")


def _list(options: argparse.ArgumentParser) -> None:
    _order_service(options)
    options.add_argument(
        "--filter", default="", metavar="FILTER", help='such as: customer_id = "c-1" AND state = FILLED'
    )
    options.add_argument("--limit", type=_count, default=50, metavar="N", help="at most so many (50)")


def _watch(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--address",
        type=_address,
        default=SYNC_ADDRESS,
        metavar="HOST:PORT",
        help=f"the Sync Server's ({SYNC_ADDRESS})",
    )
    options.add_argument("--filter", default="", metavar="FILTER", help='such as: customer_id = "c-1"')
    options.add_argument("--from-start", action="store_true", help="begin with the first event that is kept")


def _topics(options: argparse.ArgumentParser) -> None:
    options.add_argument("action", choices=("apply", "diff", "reset", "asyncapi"), help="what to do")
    options.add_argument(
        "--bootstrap-servers",
        type=_servers,
        default=os.environ.get("STATESET_KAFKA_BOOTSTRAP_SERVERS") or f"127.0.0.1:{KAFKA_PORT}",
        metavar="HOST:PORT",
        help=f"the broker's (STATESET_KAFKA_BOOTSTRAP_SERVERS, else 127.0.0.1:{KAFKA_PORT})",
    )
    options.add_argument(
        "--kafka-client-config",
        default=os.environ.get("STATESET_KAFKA_CLIENT_CONFIG", ""),
        metavar="FILE",
        help="what the broker's security asks of its clients, as librdkafka's name=value on each line "
        "(STATESET_KAFKA_CLIENT_CONFIG, else none)",
    )
    options.add_argument(
        "--shards",
        type=_shards,
        default=None,
        metavar="N",
        help=f"the log's, hence partitions (as many as the topics have; {SHARDS} where there is none)",
    )
    _topic_prefix(options)
    options.add_argument("--yes", action="store_true", help="reset without asking")


def _log(options: argparse.ArgumentParser) -> None:
    options.add_argument("action", choices=("new-epoch",), help="what to do")
    where = options.add_mutually_exclusive_group()
    where.add_argument(
        "--data-dir", type=_folder, default=_DATA_DIR, metavar="FOLDER", help="the folder that has order.db (.stateset)"
    )
    where.add_argument("--database", type=_postgres, metavar="URL", help="else: postgresql://USER@HOST/DATABASE")
    options.add_argument("--yes", action="store_true", help="do it without asking")


def _topic_prefix(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--topic-prefix",
        type=_prefix,
        default="",
        metavar="PREFIX",
        help="begins the names of this installation's topics (nothing)",
    )


def _order_service(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--address",
        type=_address,
        default=ORDER_ADDRESS,
        metavar="HOST:PORT",
        help=f"the Order Service's ({ORDER_ADDRESS})",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to {_PORT_MAX}")
    return int(text)


def _address(text: str) -> str:
    told = _ADDRESS.fullmatch(text)
    if told is None or not 0 < int(told[2]) <= _PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port, such as {ORDER_ADDRESS}")
    return text


def _servers(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port, such as 127.0.0.1:{KAFKA_PORT}")
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(PREFIX_PATTERN, text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot begin the name of a topic: letters, digits, '.', '_' and '-', "
            f"{PREFIX_CHARACTERS_MAX} of them at most"
        )
    return text


def _folder(text: str) -> Path:
    if not text:  # such as a variable that is not set: it would be whatever folder one stands in
        raise argparse.ArgumentTypeError("'' names no folder: say . for this one")
    folder = Path(text)
    try:
        folder.exists()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot use {text!r} ({error.strerror}): name another folder") from error
    return folder


def _database(text: str) -> str:
    if text not in (SQLITE, EMBEDDED_POSTGRES) and not text.startswith("postgresql://"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither {SQLITE} nor {EMBEDDED_POSTGRES} nor postgresql://…")
    return text


def _postgres(text: str) -> str:
    if not text.startswith("postgresql://"):
        raise argparse.ArgumentTypeError(f"{text!r} is not postgresql://…; for a file, say --data-dir")
    return text


def _count(text: str, most: int = _COUNT_MAX, because: str = "") -> int:
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}{because}")
    return int(text)


def _shards(text: str) -> int:
    return _count(text, SHARDS_MAX, ", as a log has shards")


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        factor = 0.0 if "_" in text else float(text)  # Python's numbers may have some
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither max nor a number above 0")
    return factor


_COMMANDS: Final[dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]]] = {
    "up": (
        "start everything on this machine and keep it running until Ctrl-C",
        "Starts the bus, the services and their consumers, restarts what dies, and stops all of it on Ctrl-C.",
        _up,
    ),
    "demo": (
        "replay real orders through the system, prove the result, and stop",
        _DEMO,
        _demo,
    ),
    "topics": (
        "make, compare or empty the topics on a broker",
        _TOPICS,
        _topics,
    ),
    "log": ("begin a new epoch of the log after a restore", _LOG, _log),
    "place": ("place an order", "Places an order and prints where it stands.", _place),
    "get": ("print an order", "Prints an order as JSON.", _get),
    "list": ("list orders", "Prints one line for each order.", _list),
    "watch": ("follow the events", "Prints one line for each event, as they happen, until Ctrl-C.", _watch),
}
