import os
from pathlib import Path

import pytest

from consumers.cli.preflight import ANY_PORTS, prepare
from infra.runtime.lifespan import StartupError
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
