"""``authserver doctor``: what it prints, and how it ends."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from server.tests.cli.terminal import Command
from server.tests.doctor.laboratory import Setup, laboratory

PATIENCE = "--timeout=1m"  # tests run beside one another


@pytest.fixture
def setup() -> Iterator[Setup]:
    """A healthy MCP server, on a loop of its own: the command has one, too."""
    ready: Future[tuple[Setup, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with laboratory() as setup:
            stop = asyncio.Event()
            ready.set_result((setup, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    setup, loop, stop = ready.result(10)
    yield setup
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def test_a_healthy_server_is_said_to_be_one(terminal: Command, setup: Setup) -> None:
    done = terminal("doctor", PATIENCE, setup.mcp_url)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{setup.mcp_url}: an MCP server",
        "",
        "  connection  ok",
        "  challenge   ok",
        "  resource    ok",
        "  server      ok",
        "  keys        ok",
        "  token       not examined",
        "  clock       ok",
        "  cors        ok",
        "",
        "nothing is wrong",
    ]


def test_a_fault_is_told_in_words_with_what_to_change(terminal: Command, setup: Setup) -> None:
    setup.prm["resource"] += "/"
    done = terminal("doctor", PATIENCE, setup.mcp_url)
    assert done.code == 1
    assert done.err == f"error: {setup.mcp_url} is not healthy: resource-slash\n"
    assert done.out.splitlines()[11:] == [
        "FAULT resource-slash (resource)",
        "  The resource and the URL differ by a slash at the end. They are compared byte for byte.",
        f"  at        {setup.prm_url}",
        f"  seen      {setup.mcp_url}/",
        f"  expected  {setup.mcp_url}",
        "  change    Spell the URL, the resource and the registered resource alike, best without the slash.",
    ]


def test_a_warning_alone_is_no_failure(terminal: Command, setup: Setup) -> None:
    setup.exposed = ""
    done = terminal("doctor", PATIENCE, setup.mcp_url)
    assert (done.code, done.err) == (0, "")
    assert "WARNING cors-expose (cors)" in done.out


def test_a_token_comes_from_standard_input_or_the_environment_and_is_not_printed(
    terminal: Command, setup: Setup
) -> None:
    setup.claims["exp"] = setup.now - 3600
    token = setup.issue()
    for given in (
        terminal("doctor", PATIENCE, "--token-stdin", "--json", setup.mcp_url, stdin=f"{token}\n"),
        terminal("doctor", PATIENCE, setup.mcp_url, "--json", AUTHSERVER_DOCTOR_TOKEN=token),
    ):
        told = json.loads(given.out)
        assert given.code == 1
        assert [(found["code"], found["layer"], found["severity"]) for found in told["findings"]] == [
            ("token-expired", "token", "fault")
        ]
        assert (told["kind"], told["healthy"], told["layers"]["token"]) == ("mcp", False, "fault")
        assert not any(part in given.out + given.err for part in token.split("."))


def test_a_token_on_the_command_line_is_refused(terminal: Command, setup: Setup) -> None:
    done = terminal("doctor", PATIENCE, setup.mcp_url, "--token", "secret")
    assert done.code == 1
    assert done.err.startswith("error: No such option")
    assert setup.shown == []


def test_an_issuer_can_be_named_as_such(terminal: Command, setup: Setup) -> None:
    setup.metadata["issuer"] += "/"
    done = terminal("doctor", PATIENCE, setup.issuer, "--kind=issuer", "--json", "--timeout", "1m")
    assert [found["code"] for found in json.loads(done.out)["findings"]] == ["issuer-slash"]


def test_a_page_of_another_origin_can_be_asked_for(terminal: Command, setup: Setup) -> None:
    done = terminal("doctor", PATIENCE, setup.issuer, "--origin", "https://app.example.com", "--json")
    assert done.code == 0
    assert any('"origin": "https://app.example.com"' in seen for _, seen in setup.shown)
