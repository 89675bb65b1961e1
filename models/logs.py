"""What the libraries that we call write into logs at DEBUG: rows, signed links, credentials. Here it is taken out.

A team that looks for a fault turns on DEBUG for everything, and Prefect stores what is logged. Each library's own loggers
get a filter, as a filter on a parent doesn't see its children's records.
"""

import functools
import logging
import re

from .masking import mask_numbers

_BOTOCORE = (
    *("auth", "awsrequest", "client", "credentials", "discovery", "endpoint", "handlers", "hooks", "httpchecksum"),
    *("httpsession", "parsers", "regions", "response", "retryhandler", "session", "tokens", "utils"),
    *("retries.standard", "retries.special", "retries.adaptive", "endpoint_provider", "configprovider"),
)
_LOGGERS = (
    *(
        "httpx",
        "aiohttp.client",
        "aiohttp.internal",
        "urllib3.connectionpool",
        "urllib3.util.retry",
        "urllib3.connection",
    ),
    *("urllib3.poolmanager", "urllib3.response"),
    *(f"httpcore.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")),
    *("botocore", *(f"botocore.{name}" for name in _BOTOCORE), "boto3", "boto3.resources.model", "s3transfer"),
    *("alembic.runtime.migration", "asyncpg", "asyncpg.pool"),
)
# Name of our SQLAlchemy engines, so that their loggers are nobody else's.
ENGINE_NAME = "prefect-whatsapp-ledger"

_QUERY = re.compile(r"\?[^\s'\"<>)\]]+")
_USERINFO = re.compile(r"(?<=://)[^/\s'\"@]+@")
_SIGNED = re.compile(
    r"(?i)((?:x-amz-[\w-]+|signature|credential|authorization|access_?key\w*|secret\w*|(?:\w*_)?token|password|apikey|"
    r"x-api-key|set-cookie|cookie|location)['\"]?\s*(?:[:=,]|%3D)\s*(?:b?['\"])?)(?:bearer\s+|aws4-hmac-sha256\s+)?"
    r"[^\s,'\"&)}\]]+"
)
_HEXADECIMAL = re.compile(r"\b[0-9a-fA-F]{40,}\b")


def redact(text: str) -> str:
    """Take queries, credentials, signatures and whole numbers out of a line of a log.

    Example:
        >>> redact("HTTP Request: GET https://b.example/key.ogg?X-Amz-Signature=ab12 for +16505550123")
        'HTTP Request: GET https://b.example/key.ogg?… for …0123'
    """
    text = _USERINFO.sub("…@", _QUERY.sub("?…", text))
    return mask_numbers(_HEXADECIMAL.sub("…", _SIGNED.sub(r"\1…", text)))


def _redacted(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True


def _without_values(record: logging.LogRecord) -> bool:
    """For aiosqlite: what was called, without the statement's values and the rows that came back."""
    called = record.args[0] if isinstance(record.args, tuple) and record.args else None
    function = called.func if isinstance(called, functools.partial) else called
    name = getattr(function, "__qualname__", type(function).__name__)
    record.msg, record.args = f"{str(record.msg).replace('%s', '').rstrip()} {name}", ()
    return True


def keep_logs_clean() -> None:
    """Put the filters on; once, when the package is imported."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_redacted)
    logging.getLogger("aiosqlite").addFilter(_without_values)
    # At DEBUG SQLAlchemy logs each row that it reads, whatever `hide_parameters` says.
    logging.getLogger(f"sqlalchemy.engine.Engine.{ENGINE_NAME}").addFilter(
        lambda record: record.levelno > logging.DEBUG
    )
