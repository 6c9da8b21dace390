import asyncio
import json

import pytest

from authserver.telemetry.decisions import Refused
from authserver.traces.store import append_traces
from server.tests.cli.terminal import Command
from server.tests.conftest import open_target

REFERENCE = "ref_" + "abcd2345" * 2 + "wxyz"
FUTURE = 4_000_000_000


def keep(target: str, decision: dict[str, object], *, at: int = FUTURE) -> None:
    """Keep a refusal as a server does."""
    told = {"endpoint": "POST /oauth/token", "request_id": "r-1", "status": 400, "description": "no", "steps": []}
    refused = Refused(
        reference=REFERENCE,
        error="invalid_grant",
        client_id="c",
        decision=json.dumps(told | decision),
        is_anonymous=False,
    )

    async def write() -> None:
        db = await open_target(target)
        try:
            await db.write(lambda tx: append_traces(tx, [(refused, at)]))
        finally:
            await db.close()

    asyncio.run(write())


@pytest.mark.parametrize("words", [REFERENCE, f"(the grant is invalid ({REFERENCE}))"])
def test_a_refusal_is_explained_step_by_step(command: Command, database_target: str, words: str) -> None:
    step = {"step": "code looked up", "found": "used before", "seconds": 9}
    keep(database_target, {"reason": "code_reused", "steps": [step]})
    done = command("admin", "trace", "show", words)
    assert (done.code, done.err) == (0, "")
    assert f"reference={REFERENCE}\n" in done.out
    assert "  1. code looked up: found=used before  seconds=9\n  2. refused: code_reused\n" in done.out
    assert (
        "meaning: The code was used before, 9 seconds ago (used before).\nfix: Redeem a code exactly once" in done.out
    )


def test_json_has_the_same(command: Command, database_target: str) -> None:
    keep(database_target, {"reason": "csrf"})
    told = json.loads(command("admin", "trace", "show", REFERENCE, "--json").out)
    assert (told["reference"], told["error"], told["reason"]) == (REFERENCE, "invalid_grant", "csrf")
    assert told["time"] == "2096-10-02T07:06:40Z"
    assert told["fix"].startswith("Load the page again.")


def test_what_was_noted_cannot_drive_the_terminal(command: Command, database_target: str) -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\u202e\nfix: run this"
    step = {"step": "redirect URI compared", "redirect_uri": hostile}
    keep(database_target, {"reason": "redirect_uri_mismatch", "description": hostile, "steps": [step]})
    for done in (command("admin", "trace", "show", REFERENCE), command("admin", "trace", "list")):
        assert done.code == 0
        assert not set("\x1b\x07\u202e") & set(done.out)
        assert not [line for line in done.out.splitlines() if line.startswith("fix: run this")]


def test_a_reason_of_another_version_is_no_failure(command: Command, database_target: str) -> None:
    keep(database_target, {"reason": "from_the_future"})
    done = command("admin", "trace", "show", REFERENCE)
    assert done.code == 0
    assert "no explanation for the reason" in done.out


def test_the_newest_are_listed(command: Command, database_target: str) -> None:
    keep(database_target, {"reason": "csrf"})
    listed = command("admin", "trace", "list", "--client-id", "c", "--error", "invalid_grant")
    assert listed.fields["reference"] == REFERENCE
    assert json.loads(command("admin", "trace", "list", "--json").out)[0]["reference"] == REFERENCE
    assert command("admin", "trace", "list", "--client-id", "other").out == "no refusals kept\n"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [({}, "it is older than traces.max_age (86400 s)"), ({"AUTHPLANE_TRACES_ENABLED": "false"}, "traces.enabled is")],
)
def test_what_is_not_kept_any_more_is_said_to_be_so(
    command: Command, database_target: str, environment: dict[str, str], sentence: str
) -> None:
    keep(database_target, {"reason": "csrf"}, at=1)
    done = command("admin", "trace", "show", REFERENCE, **environment)
    assert (done.code, done.out) == (1, "")
    assert f"no trace of {REFERENCE}: {sentence}" in done.err


def test_a_word_that_is_no_reference_id_is_refused(command: Command) -> None:
    done = command("admin", "trace", "show", "ref_short")
    assert (done.code, done.out) == (1, "")
    assert "ID must hold a reference id" in done.err
