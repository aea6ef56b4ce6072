"""Structured logs: one JSON object a line, or text for people where stderr is a terminal."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

log = logging.getLogger("layercut")

#: Fields of every line of this process, whichever thread logs it: a worker has one attempt at a time.
_OF_PROCESS: dict[str, str | int] = {}


@contextmanager
def bound_process(**fields: str | int) -> Iterator[None]:
    """Add ``fields`` to every line that the process logs meanwhile."""
    _OF_PROCESS.update(fields)
    try:
        yield
    finally:
        for name in fields:
            _OF_PROCESS.pop(name, None)


def configure_logs(level: str = "INFO") -> None:
    """Send structlog, the standard library's loggers (uvicorn, celery, alembic), warnings, and what nobody caught
    through one handler on stderr.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _merge_process,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The hub's client logs whole addresses, and those of its file servers are signed.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Our own line for each request carries the request id; uvicorn's would say the same again, with the query string.
    logging.getLogger("uvicorn.access").disabled = True
    # A receiver of traces that is away is said once in a while, and without where it was found out.
    handler.addFilter(_without_traceback)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _merge_process(logger: WrappedLogger, method: str, line: EventDict) -> EventDict:
    return {**_OF_PROCESS, **line}


def _without_traceback(record: logging.LogRecord) -> bool:
    # On the handler: the filters of a logger are not asked about what its children say.
    if record.name.partition(".")[0] == "opentelemetry":
        record.exc_info = record.exc_text = None
    return True


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        log.critical("nobody caught %s", kind.__name__, exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread else "?"
        trace = (args.exc_type, args.exc_value, args.exc_traceback)
        log.critical("thread %s ended with %s", name, args.exc_type.__name__, exc_info=trace)


def _renderers() -> list[Any]:
    if sys.stderr.isatty():
        # The default would print the local variables of every frame, and so the customer's data.
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
