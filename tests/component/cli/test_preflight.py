import os
from pathlib import Path

import pytest

from consumers.cli.arguments import EMBEDDED_POSTGRES, SQLITE
from consumers.cli.preflight import ANY_PORTS, prepare, refuse_another_log, unread_orders
from infra.runtime.lifespan import StartupError
from tests.harness.order_service import order_service
from tests.harness.unprivileged import unprivileged


def refuse(folder: Path, named: Path) -> None:
    refusal = f"^cannot write to the folder {named}: name another with --data-dir$"
    with pytest.raises(StartupError, match=refusal), prepare(folder, ANY_PORTS):
        pytest.fail("it was taken")


def test_a_data_folder_that_cannot_be_written_is_refused() -> None:
    with unprivileged() as folder:
        folder.chmod(0o555)
        refuse(folder, folder)


def test_a_data_folder_whose_name_is_not_utf_8_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"K\xf6ln")  # as Latin-1 has it
    with pytest.raises(
        StartupError, match=r"K\\xf6ln' has a name that is not UTF-8: name another with --data-dir$"
    ) as refused:
        prepare(folder, ANY_PORTS).__enter__()
    assert str(refused.value).isascii()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_logs_that_cannot_be_written_is_refused() -> None:
    with unprivileged() as folder:
        (folder / "logs").mkdir(mode=0o555)
        refuse(folder, folder / "logs")


def begin(folder: Path, database: str) -> str:
    """As `stateset up` does before it starts anything; what it tells."""
    with prepare(folder, ANY_PORTS, database=database) as plan:
        refuse_another_log(plan)
        return unread_orders(plan)


async def test_no_log_is_begun_on_a_server_of_our_own_beside_one_in_a_file(tmp_path: Path) -> None:
    async with order_service(tmp_path):
        pass
    begin(tmp_path, EMBEDDED_POSTGRES)  # that one was empty
    async with order_service(tmp_path) as service:
        await service.place(1)
    with pytest.raises(StartupError, match=f"^{tmp_path}/order.db holds orders, .* --database sqlite,") as refused:
        begin(tmp_path, EMBEDDED_POSTGRES)
    assert "--data-dir" in str(refused.value)
    begin(tmp_path, SQLITE)


async def test_a_server_of_others_may_have_its_log_already_and_what_is_left_unread_is_told(tmp_path: Path) -> None:
    elsewhere = "postgresql://ann:secret@127.0.0.1:1/orders"
    assert begin(tmp_path, elsewhere) == ""
    async with order_service(tmp_path) as service:
        await service.place(1)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    told = begin(tmp_path, elsewhere)
    assert told.startswith(
        f"{tmp_path}/order.db and {tmp_path}/postgres: not read, the orders are those of postgresql:"
    )
    assert "secret" not in told


async def test_no_log_is_begun_in_a_file_beside_a_server_of_our_own(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    begin(tmp_path, SQLITE)
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    with pytest.raises(StartupError, match=f"^{tmp_path}/postgres is .* --database embedded-postgres,") as refused:
        begin(tmp_path, SQLITE)
    assert "--data-dir" in str(refused.value)
    begin(tmp_path, EMBEDDED_POSTGRES)
    async with order_service(tmp_path) as service:
        await service.place(1)
    begin(tmp_path, SQLITE)
