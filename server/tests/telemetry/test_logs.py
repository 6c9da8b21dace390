import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from authserver.telemetry import logs
from authserver.telemetry.logs import configure_logging, flush_logs, get_logger
from authserver.telemetry.origin import NOWHERE, RequestOrigin, current_origin, set_origin
from authserver.telemetry.trace_context import TraceContext

log = get_logger("token")


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    handlers, level = logging.root.handlers[:], logging.root.level
    before = vars(logs._output).copy()
    logs._output.gathered = []
    stream = io.BytesIO()
    configure_logging(stream=stream)
    yield stream
    vars(logs._output).clear()
    vars(logs._output).update(before)
    logging.root.handlers, logging.root.level = handlers, level


def _lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_with_the_keys_of_the_contract(stream: io.BytesIO) -> None:
    log.info("tokens issued", client_id="abc", token_type="DPoP", n=1)

    (line,) = _lines(stream)
    assert list(line)[:5] == ["time", "level", "msg", "service", "component"]
    assert line["level"] == "INFO"
    assert line["msg"] == "tokens issued"
    assert line["service"] == "authserver"
    assert line["component"] == "token"
    assert (line["client_id"], line["token_type"], line["n"]) == ("abc", "DPoP", 1)


def test_levels_are_spelled_as_the_contract_has_them(stream: io.BytesIO) -> None:
    configure_logging(level="DEBUG", stream=stream)
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")

    assert [line["level"] for line in _lines(stream)] == ["DEBUG", "INFO", "WARN", "ERROR"]


def test_what_is_below_the_level_is_not_written(stream: io.BytesIO) -> None:
    configure_logging(level="warn", stream=stream)
    log.info("a")
    log.warning("b")

    assert [line["msg"] for line in _lines(stream)] == ["b"]


def test_lines_of_a_request_carry_its_ids_once(stream: io.BytesIO) -> None:
    async def request() -> None:
        set_origin(
            RequestOrigin(ip="192.0.2.1", request_id="r-1", trace=TraceContext(trace_id="f" * 32, is_sampled=False))
        )
        log.info("inside", request_id="forged")

    async def main() -> None:
        await asyncio.create_task(request())

    asyncio.run(main())
    log.info("outside")

    inside, outside = _lines(stream)
    assert (inside["request_id"], inside["trace_id"]) == ("r-1", "f" * 32)
    assert "request_id" not in outside
    assert current_origin() is NOWHERE


@pytest.mark.parametrize("field", ["password", "client_secret", "code", "refresh_token", "authorization", "email"])
def test_fields_that_name_a_secret_lose_their_value(stream: io.BytesIO, field: str) -> None:
    log.error("oops", **{field: "canary"})

    assert b"canary" not in stream.getvalue()


def test_a_signed_token_is_redacted_wherever_it_stands(stream: io.BytesIO) -> None:
    log.error("oops", error="bad token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl here")

    (line,) = _lines(stream)
    assert line["error"] == "bad token [redacted] here"


def test_an_exception_brings_its_traceback_on_the_same_line(stream: io.BytesIO) -> None:
    try:
        int("broken")
    except ValueError:
        log.exception("fault", path="/x")

    (line,) = _lines(stream)
    assert line["level"] == "ERROR"
    assert "ValueError: invalid literal" in line["exception"]


def test_hostile_values_still_make_one_line_of_json(stream: io.BytesIO) -> None:
    log.info("odd", a="\ud800\n", b=10**40, c=b"\x01" * 32, d=b"\x02" * 16, e={"x": object})

    (line,) = _lines(stream)
    assert line["c"] == "01010101"
    assert len(line["d"]) == 22


def test_no_line_tells_a_terminal_what_to_do(stream: io.BytesIO) -> None:
    told = "\x1b[2J \x7f \x9b2J \u2028 \u202e Zoë — ok"
    log.info("odd", told=told)

    (line,) = stream.getvalue().decode().split("\n")[:-1]
    assert line.isprintable()
    assert "Zoë — ok" in line
    assert json.loads(line)["told"] == told


def test_text_lines_carry_the_same_keys(stream: io.BytesIO) -> None:
    configure_logging(line_format="text", stream=stream)
    log.info("tokens issued", client_id="a b", n=1, ok=True, nothing=None, many=["x", "y"], forged="x\nlevel=ERROR")

    line = stream.getvalue().decode()
    assert line.count("\n") == 1
    assert 'level=INFO msg="tokens issued" service=authserver component=token client_id="a b" n=1 ok=true' in line
    assert 'forged="x\\nlevel=ERROR"' in line


def test_the_source_of_a_line_is_where_it_was_written(stream: io.BytesIO) -> None:
    configure_logging(add_source=True, stream=stream)
    log.info("here")

    (line,) = _lines(stream)
    assert line["source"]["file"] == "test_logs.py"
    assert line["source"]["function"] == "test_the_source_of_a_line_is_where_it_was_written"


def test_records_of_libraries_become_lines_from_warning_up(stream: io.BytesIO) -> None:
    logging.getLogger("uvicorn.error").error("could not bind %s", "127.0.0.1")
    logging.getLogger("uvicorn.error").warning("slow")
    logging.getLogger("httpx").info("GET https://idp.example/?code=canary")

    assert [(line["component"], line["level"], line["msg"]) for line in _lines(stream)] == [
        ("uvicorn", "ERROR", "could not bind 127.0.0.1"),
        ("uvicorn", "WARN", "slow"),
    ]


def test_a_stream_that_fails_does_not_harm_the_request(stream: io.BytesIO) -> None:
    stream.close()

    log.info("nobody hears this")


def test_before_it_is_configured_only_warnings_and_errors_come_out(capfd: pytest.CaptureFixture[str]) -> None:
    log.info("quiet")
    log.error("loud")

    captured = capfd.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["msg"] for line in captured.err.splitlines()] == ["loud"]


def test_a_server_gathers_lines_for_a_moment_but_never_warnings(stream: io.BytesIO) -> None:
    configure_logging(stream=stream, gather_seconds=0.01)

    async def main() -> None:
        log.info("first")
        log.info("second")
        assert _lines(stream) == []
        log.warning("third")
        assert [line["msg"] for line in _lines(stream)] == ["first", "second", "third"]
        log.info("fourth")
        async with asyncio.timeout(5):
            while len(_lines(stream)) < 4:  # noqa: ASYNC110  a stream offers no event
                await asyncio.sleep(0.005)

    asyncio.run(main())
    assert [line["msg"] for line in _lines(stream)] == ["first", "second", "third", "fourth"]


def test_gathered_lines_are_bounded(stream: io.BytesIO) -> None:
    configure_logging(stream=stream, gather_seconds=1000)

    async def main() -> None:
        for _ in range(100):
            log.info("x" * 1024)

    asyncio.run(main())
    assert 32 <= len(_lines(stream)) < 100
    flush_logs()
    assert len(_lines(stream)) == 100


def test_a_program_that_ends_writes_what_it_gathered() -> None:
    program = """
import asyncio
from authserver.telemetry.logs import configure_logging, get_logger
configure_logging(gather_seconds=1000)
async def main():
    get_logger("main").info("first")
    raise SystemExit(3)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    assert json.loads(done.stdout)["msg"] == "first"
