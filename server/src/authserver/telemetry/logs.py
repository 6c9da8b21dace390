"""Log lines: one JSON object a line (or ``key=value`` text).

Warnings and errors are written at once. A server may gather what is less for a moment: only a process that is killed within
it, without a chance to do anything, loses those lines.
"""

import asyncio
import atexit
import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from authserver.protocol.identifiers import spell_id
from authserver.telemetry.decisions import REDACTED
from authserver.telemetry.origin import current_origin
from authserver.telemetry.spans import current_span

LineFormat = Literal["json", "text"]

SERVICE = "authserver"

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_LOGGING_MODULES = ("authserver.telemetry.", "logging")
_ID_BYTES = 16
_MOST_GATHERED_BYTES = 64 * 1024

# A safety net under the rule that no secret is handed to a logger: fields of these names lose their value.
_SECRET_FIELDS = frozenset(
    {
        "access_token",
        "actor_token",
        "api_key",
        "assertion",
        "authorization",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "cookie",
        "csrf_token",
        "device_code",
        "dpop",
        "dsn",
        "email",
        "id_token",
        "password",
        "password_hash",
        "pepper",
        "private_key",
        "refresh_token",
        "secret",
        "secret_hash",
        "set_cookie",
        "subject_token",
        "token",
        "user_code",
    }
)
_JWT = re.compile(rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
_PLAIN = re.compile(r"[^\s\"=]+")
# Of what JSON leaves as it is: C1 controls, which terminals obey, line separators, and what turns the direction of text.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Fields that a caller may not overwrite by naming one of its own the same.
_OWN_FIELDS = ("time", "level", "msg", "service", "component", "source", "request_id", "trace_id", "span_id")


class _Output:
    """Where lines go and how they look: set once, when the process has read its configuration.

    Until then warnings and errors go to stderr, which is what the ``admin`` commands want.
    """

    level: int = logging.WARNING
    render: "Callable[[dict[str, Any]], bytes]"
    add_source: bool = False
    stream: BinaryIO | None = None
    worker: "dict[str, int] | None" = None
    export: "Callable[[bytes], None] | None" = None
    is_written: bool = True
    gather_seconds: float = 0

    def __init__(self) -> None:
        # Lines of the thread that runs the event loop, which alone touches this.
        self.gathered: list[bytes] = []
        self.gathered_bytes = 0

    def now(self, line: bytes) -> None:
        """Write a line, behind those that were gathered."""
        if not self.is_written:
            return
        if self.gathered and _running_loop() is not None:
            self.gathered.append(line)
            self.flush()
        else:
            self.write(line)

    def later(self, line: bytes) -> None:
        """Write a line soon, together with others, if that is wanted and a loop runs to do it."""
        if not self.is_written:
            return
        loop = _running_loop() if self.gather_seconds else None
        if loop is None:
            self.write(line)
            return
        if not self.gathered:
            loop.call_later(self.gather_seconds, self.flush)
        self.gathered.append(line)
        self.gathered_bytes += len(line)
        if self.gathered_bytes > _MOST_GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self.gathered:
            lines, self.gathered, self.gathered_bytes = self.gathered, [], 0
            self.write(b"".join(lines))

    def write(self, lines: bytes) -> None:
        """Write. A stream that is closed or full of errors never harms the request that wanted to log."""
        stream = self.stream or getattr(sys.stderr, "buffer", None)
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            stream.write(lines)
            stream.flush()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_output = _Output()
atexit.register(_output.flush)


class Logger:
    """Writes events in plain words with fields; the same words each time."""

    __slots__ = ("_component",)

    def __init__(self, component: str) -> None:
        self._component = component

    def tells(self, level: int) -> bool:
        """Whether lines of a level are written, for a caller who has to gather what they say."""
        return _output.level <= level

    def debug(self, msg: str, **fields: object) -> None:
        """Log what only a developer asks for."""
        if _output.level <= logging.DEBUG:
            _output.later(_build_line("DEBUG", self._component, msg, fields))

    def info(self, msg: str, **fields: object) -> None:
        """Log a change of state."""
        if _output.level <= logging.INFO:
            _output.later(_build_line("INFO", self._component, msg, fields))

    def warning(self, msg: str, **fields: object) -> None:
        """Log what someone should look at; the traceback of ``exc_info``, when it is an exception, goes with it."""
        if _output.level <= logging.WARNING:
            _output.now(_build_line("WARN", self._component, msg, _with_traceback(fields)))

    def error(self, msg: str, **fields: object) -> None:
        """Log what someone must act on; as ``warning``."""
        _output.now(_build_line("ERROR", self._component, msg, _with_traceback(fields)))

    def exception(self, msg: str, **fields: object) -> None:
        """Log a fault with the traceback of the exception being handled."""
        self.error(msg, **fields | {"exc_info": sys.exception()})


def get_logger(component: str) -> Logger:
    """Return a logger for one part of the program; modules keep it in a constant."""
    return Logger(component)


def configure_logging(
    *,
    level: str = "info",
    line_format: LineFormat = "json",
    add_source: bool = False,
    stream: BinaryIO | None = None,
    gather_seconds: float = 0,
) -> None:
    """Say where lines go from now on, those of libraries included.

    Args:
        level: ``debug``, ``info``, ``warn`` or ``error``, in any case.
        line_format: ``json`` or ``text``.
        add_source: Whether each line names the file and line it was written at.
        stream: Where lines go; None is stdout.
        gather_seconds: How long lines below warning may wait for others, while an event loop runs.
    """
    _output.level = _LEVELS[level.lower()]
    _output.render = _render_json if line_format == "json" else _render_text
    _output.add_source = add_source
    _output.stream = stream or sys.stdout.buffer
    _output.gather_seconds = gather_seconds
    _route_libraries()


def export_lines(put: "Callable[[bytes], None] | None", *, is_alone: bool = False) -> None:
    """Have every line handed over as JSON, too, from now on.

    Args:
        put: Takes a line, from any thread, and waits for nothing; None: nobody does any more.
        is_alone: Whether lines are no longer written.
    """
    _output.export, _output.is_written = put, not is_alone


def flush_logs() -> None:
    """Write what was gathered: before the loop ends, or the process by another way than the usual."""
    _output.flush()


def name_worker(number: int) -> None:
    """Have every line of this process say which of the workers wrote it."""
    _output.worker = {"worker": number, "pid": os.getpid()}


def _build_line(level: str, component: str, msg: str, fields: dict[str, object]) -> bytes:
    """Return the line that is written: our fields first, then the caller's."""
    line: dict[str, Any] = {"time": _time(), "level": level, "msg": msg, "service": SERVICE, "component": component}
    if _output.add_source:
        line["source"] = _source()
    if _output.worker is not None:
        line |= _output.worker
    origin = current_origin()
    if origin.request_id:
        line["request_id"] = origin.request_id
    if origin.trace is not None:
        line["trace_id"] = origin.trace.trace_id
        if (span := current_span()) is not None:
            line["span_id"] = span.span_id
    for key, value in fields.items():
        if key not in _OWN_FIELDS:
            line[key] = REDACTED if key in _SECRET_FIELDS and value else value
    rendered = _without_tokens(_output.render(line))
    if _output.export is not None:
        _output.export(rendered if _output.render is _render_json else _without_tokens(_render_json(line)))
    return rendered


def _without_tokens(rendered: bytes) -> bytes:
    return _JWT.sub(REDACTED.encode(), rendered) if b"eyJ" in rendered else rendered


def _with_traceback(fields: dict[str, object]) -> dict[str, object]:
    """Return fields with a traceback in place of the exception that is among them."""
    exc = fields.pop("exc_info", None)
    if isinstance(exc, BaseException):
        fields["exception"] = "".join(traceback.format_exception(exc)).rstrip("\n")
    return fields


def _source() -> dict[str, object]:
    """Return the place that a line is written from: the innermost one that is no part of logging itself."""
    frame = sys._getframe(1)  # noqa: SLF001  what `inspect` uses, which takes milliseconds
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_LOGGING_MODULES):
        frame = frame.f_back
    code = frame.f_code
    return {"function": code.co_name, "file": Path(code.co_filename).name, "line": frame.f_lineno}


def _time() -> str:
    # No decision rests on the time of a line, so it is not the request's `now`.
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{fraction // 1_000_000:03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _render_json(line: dict[str, Any]) -> bytes:
    try:
        rendered = orjson.dumps(line, default=_spell, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        return rendered if rendered.isascii() else _UNSAFE.sub(_escape, rendered.decode()).encode()
    except orjson.JSONEncodeError:
        # Unpaired surrogates and huge numbers, which only hostile input has.
        return json.dumps(line, default=_spell).encode() + b"\n"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _render_text(line: dict[str, Any]) -> bytes:
    return " ".join(f"{key}={_text(value)}" for key, value in line.items()).encode("utf-8", "replace") + b"\n"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=_spell)
    return text if _PLAIN.fullmatch(text) and text.isprintable() else json.dumps(text)


def _spell(value: object) -> str:
    """Return what a value that JSON lacks looks like in a line; of a hash its first characters are enough."""
    if isinstance(value, bytes):
        return spell_id(value) if len(value) == _ID_BYTES else value.hex()[:8]
    return str(value)


_output.render = _render_json


class _LibraryHandler(logging.Handler):
    """Turns the records of libraries that use ``logging`` into lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line whose component is the library."""
        logger = get_logger(record.name.partition(".")[0])
        exc = record.exc_info[1] if record.exc_info else None
        if record.levelno >= logging.ERROR:
            logger.error(record.getMessage(), exc_info=exc)
        else:
            logger.warning(record.getMessage(), exc_info=exc)


def _route_libraries() -> None:
    """Take over the root logger. Below warning libraries say nothing here: their lines may hold URLs with queries."""
    root = logging.getLogger()
    others = [handler for handler in root.handlers if type(handler) not in {_LibraryHandler, logging.StreamHandler}]
    root.handlers = [*others, _LibraryHandler()]
    root.setLevel(max(_output.level, logging.WARNING))
