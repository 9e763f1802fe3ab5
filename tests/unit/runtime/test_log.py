"""What of the log records of libraries is written."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from infra.runtime.log import configure_log


@pytest.fixture(autouse=True)
def configured(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    root.handlers.clear()  # so that nobody closes them
    configure_log("sync")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.mark.parametrize(
    ("logger", "message"),
    [
        ("uvicorn.error", "Invalid UTF-8 sequence received from client."),
        ("grpc._cython.cygrpc", "ExecuteBatchError raised in core by servicer method [/a.B/C]"),
    ],
)
def test_callers_cannot_fill_the_log_with_tracebacks(
    logger: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger(logger).error(message, exc_info=ValueError("of a caller"))
    logging.getLogger(logger).error("Exception in ASGI application", exc_info=ValueError("of ours"))
    written = capsys.readouterr().err
    assert "of a caller" not in written
    assert "of ours" in written
