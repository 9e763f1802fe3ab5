import asyncio
import signal
import sqlite3
from pathlib import Path

from tests.harness.e2e_command_line import content, free_options, stateset, stateset_up
from tests.harness.order_service import order_service

NEXT = "Next, as they refuse another log: "


async def new_epoch(folder: Path) -> tuple[int, list[str], str]:
    """How the command ended, and its lines."""
    outcome = await stateset("log", "new-epoch", "--data-dir", str(folder), "--yes")
    return outcome.code, outcome.out.splitlines(), outcome.err


async def carry_out(command: str) -> None:
    shell = await asyncio.create_subprocess_exec("sh", "-c", command)
    assert await shell.wait() == 0


def backup(folder: Path, to: Path) -> None:
    """As docs/operations/restore.md makes one."""
    connection = sqlite3.connect(folder / "order.db")
    connection.execute("VACUUM INTO ?", (str(to),))
    connection.close()


async def test_a_restored_system_goes_on_once_it_has_a_new_epoch_and_its_readers_begin_anew(tmp_path: Path) -> None:
    folder, kept = tmp_path / "system", tmp_path / "kept.db"
    order = ("--customer", "c-1", "--line", "tea:1:1.00")
    async with stateset_up(folder) as up:
        assert (await stateset("place", "--address", up.address("order"), *order)).code == 0
        backup(folder, kept)
        assert (await stateset("place", "--address", up.address("order"), *order)).code == 0
        up.process.send_signal(signal.SIGINT)
        await up.process.communicate()
    await carry_out(f"rm {folder}/order.db*; cp {kept} {folder}/order.db")

    code, (epoch, counts, topics, removal), err = await new_epoch(folder)
    assert (code, err) == (0, "")
    before, after = epoch.split()[-1].rstrip("."), epoch.split()[4]
    assert counts.startswith("Events that carry it: 1; stored replies: 1;")
    assert "stateset topics reset" in topics

    refused = await stateset("up", "--data-dir", str(folder), "--bus", "direct", *free_options())
    assert refused.code == 2
    assert f"the read model is of log {before} with 12 shards, the Order Service has log {after}" in refused.err

    await carry_out(removal.removeprefix(NEXT))
    async with stateset_up(folder) as up:
        listed = await stateset("list", "--address", up.address("order"))
    assert listed.out.count("PENDING") == 1


async def test_a_folder_in_use_or_without_a_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "system"
    async with order_service(folder):
        code, out, err = await new_epoch(folder)
    assert (code, out) == (2, [])
    assert err == f"{folder}/order.db is open in another process: stop that one, or use another file\n"

    before = content(tmp_path)
    code, out, err = await new_epoch(tmp_path / "elsewhere")
    assert (code, out) == (2, [])
    assert err.startswith(f"there is no {tmp_path}/elsewhere/order.db: name its folder with --data-dir")
    outcome = await stateset("log", "new-epoch", "--data-dir", str(folder))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "say --yes as well" in outcome.err
    assert content(tmp_path) == before


async def test_a_server_that_cannot_be_reached_is_named_without_its_password() -> None:
    url = "postgresql://ann:s3cret@127.0.0.1:1/orders"
    outcome = await stateset("log", "new-epoch", "--database", url, "--yes")
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "cannot use postgresql" in outcome.err
    assert "s3cret" not in outcome.err
