"""One JSON object a line on standard error, from our own log calls and the libraries' alike."""

import logging
import sys
from typing import Any, Final, Literal

import structlog

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# By logger, what a library calls an error, with a traceback, though a caller has said nonsense or has gone.
_OF_CALLERS: Final = {
    "grpc._cython.cygrpc": "ExecuteBatchError raised in core by servicer method",
    "uvicorn.error": "Invalid UTF-8 sequence received from client.",
}


def configure_log(service: str, *, level: LogLevel = "INFO") -> None:
    """Sends every log record of the process to standard error as JSON, under the service's name.

    Only what callers could fill the log with is left out: they are told, and it says nothing of the process.
    """

    def name_service(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:  # noqa: ANN401 - structlog's signature
        return {"service": service, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_service,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(_is_ours)
    logging.basicConfig(handlers=[handler], level=level, force=True)


def _is_ours(record: logging.LogRecord) -> bool:
    callers = _OF_CALLERS.get(record.name)
    return callers is None or not record.getMessage().startswith(callers)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of one module."""
    return structlog.stdlib.get_logger(name)
