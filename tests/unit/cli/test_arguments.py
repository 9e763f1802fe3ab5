import subprocess
import sys
from pathlib import Path

import pytest

from consumers.cli.arguments import parser


def test_defaults_of_the_demo() -> None:
    options = parser().parse_args(["demo"])
    assert (options.orders, options.speed, options.data_dir, options.bus) == (2000, None, Path(".stateset"), "auto")
    assert options.database == "sqlite"


@pytest.mark.parametrize("database", ["sqlite", "embedded-postgres", "postgresql://ann:secret@db.example:5433/orders"])
def test_up_and_demo_take_a_database(database: str) -> None:
    for command in ("up", "demo"):
        assert parser().parse_args([command, "--database", database]).database == database


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "order.internal:1", "[::1]:65535"])
def test_an_address_is_host_and_port(address: str) -> None:
    assert parser().parse_args(["list", "--address", address]).address == address


@pytest.mark.parametrize("prefix", ["", "eu-1_a.", "x" * 225])
def test_a_topic_prefix_has_what_the_name_of_a_topic_may_have(prefix: str) -> None:
    assert parser().parse_args(["topics", "diff", "--topic-prefix", prefix]).topic_prefix == prefix


def test_defaults_of_up_are_the_documented_ports() -> None:
    options = parser().parse_args(["up"])
    assert (options.order_port, options.sync_port, options.kafka_port) == (50051, 50052, 9092)
    assert (options.risk_port, options.portfolio_port, options.analytics_port) == (50061, 50062, 50063)
    assert (options.order_admin_port, options.sync_admin_port) == (9101, 9102)
    assert (options.risk_admin_port, options.portfolio_admin_port, options.analytics_admin_port) == (9103, 9104, 9105)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["down"],
        ["up", "--prot", "1"],
        ["up", "--order-port", "65536"],
        ["up", "--bus", "rabbit"],
        ["up", "--database", "mysql://localhost/db"],
        ["demo", "--database", ""],
        ["topics", "forget"],
        ["topics", "diff", "--bootstrap-servers", ""],
        ["topics", "apply", "--shards", "0"],
        ["topics", "apply", "--shards", "257"],
        ["log", "old-epoch"],
        ["log", "new-epoch", "--database", "sqlite:///order.db"],
        ["log", "new-epoch", "--data-dir", "here", "--database", "postgresql://localhost/there"],
        ["demo", "--orders", "0"],
        ["demo", "--orders", "-1"],
        ["demo", "--speed", "0"],
        ["demo", "--speed", "nan"],
        ["demo", "--speed", "1_0"],
        ["demo", "--order", "5"],
        ["demo", "--orders", "99999999999999999999"],
        ["list", "--limit", "2147483648"],
        ["place", "--line", "tea:1:1"],
        ["up", "--topic-prefix", "a b/"],
        ["topics", "diff", "--topic-prefix", "x" * 226],
        ["get", "\udcff"],
        ["get", "--address", "", "o-1"],
        ["list", "--address", "localhost"],
        ["list", "--address", "a:b:1"],
        ["watch", "--address", "localhost:65536"],
        ["up", "--data-dir", "x" * 300],
        ["up", "--data-dir", ""],
        ["log", "new-epoch", "--yes", "--data-dir", ""],
    ],
)
def test_what_is_not_understood_is_refused_with_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_text(arguments)

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_line_is_parsed_before_anything_heavy_is_loaded() -> None:
    script = (
        "import sys, consumers.cli.__main__; print(*sorted(set(sys.modules) & {'grpc', 'pydantic', 'rich', 'asyncio'}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
