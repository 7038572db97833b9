"""Structured logs to stderr: one JSON object on each line, or coloured text for a person."""

import logging
import sys
from typing import Final, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

# Their debug lines hold whole answers of kube-apiserver, tokens and Secrets among them.
_NEVER_BELOW: Final = {
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.INFO,
    "kubernetes_asyncio": logging.INFO,
}


def configure_logging(*, level: str, format: Literal["json", "text"]) -> None:  # noqa: A002 - the setting's name
    """Send the logs of this process, those of libraries included, to stderr.

    Args:
        level: The least level that is written: debug, info, warning or error.
        format: json for machines, text for a person at a terminal.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_shared(), processors=_renderer(format))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    for name, floor in _NEVER_BELOW.items():
        logging.getLogger(name).setLevel(max(floor, least))
    logging.captureWarnings(capture=True)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderer(format: Literal["json", "text"]) -> list[Processor]:  # noqa: A002 - as above
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if format == "text":
        console = structlog.dev.ConsoleRenderer(
            timestamp_key="time",
            colors=sys.stderr.isatty(),
            # The richer formatters print local variables, and so secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
        return [clean, console]
    return [
        clean,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: EventDict, **options: object) -> str:
    """One line of JSON: what JSON has no word for is text, and numbers that are not finite are null."""
    del options
    return msgspec.json.encode(event, enc_hook=str).decode()
