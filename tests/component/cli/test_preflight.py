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


def test_a_folder_of_logs_that_cannot_be_written_is_refused() -> None:
    with unprivileged() as folder:
        (folder / "logs").mkdir(mode=0o555)
        refuse(folder, folder / "logs")
