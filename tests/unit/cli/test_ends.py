"""How a command ends that cannot go on: by what is told here, without a traceback."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from consumers.cli import __main__ as cli


def ended(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a command that raises this."""

    def handler(_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "import_module", lambda _: SimpleNamespace(main=handler))
    return cli.main(["watch"])


def in_group(error: BaseException) -> BaseException:
    return BaseExceptionGroup("tasks", [BaseExceptionGroup("tasks", [error])])


@pytest.mark.parametrize("wrapped", [lambda error: error, in_group])
def test_an_error_of_the_system_is_one_line(
    wrapped: Callable[[BaseException], BaseException],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(wrapped(OSError(24, "Too many open files")), monkeypatch) == 1
    assert capsys.readouterr().err == "stateset: [Errno 24] Too many open files\n"


def test_ctrl_c_while_a_command_is_loaded_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupted)
    assert cli.main(["up"]) == 130
    assert capsys.readouterr().err == ""


def test_what_is_wrong_with_us_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup, match="tasks"):
        ended(in_group(asyncio.InvalidStateError()), monkeypatch)
