"""Structured logs on stderr, for people or as JSON lines; a line written while a call is served bears its request id.

Tracebacks never show local variables: keys and users' data live there.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from quartet_server.rpc.call import serving


def configure(style: Literal["console", "json"] = "console", level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog, and the standard library's logging behind the same renderer, for this process.

    Args:
        style: `console` for people, `json` for one object a line.
        level: The least that is written: debug, info, warning or error.
        stream: Where to; stderr when None. Data goes to stdout, so logs never do.
    """
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_call,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "json":
        renderer: list[Processor] = [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the node says itself when it starts and stops


def _add_call(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add the request id and method of the call being served, unless the line has its own."""
    call = serving()
    if call is not None:
        event.setdefault("request_id", call.request_id)
        event.setdefault("method", call.method)
    return event
