import asyncio
import json
import re

import pytest

from authserver.protocol.identifiers import new_id, spell_id
from authserver.tokens.records import Issuance, IssuanceKind
from authserver.tokens.store import append_issuance
from server.tests.cli.terminal import Command, audited
from server.tests.conftest import NOW, open_target


@pytest.fixture
def jti(database_target: str) -> str:
    """A token that a machine got for itself, long ago."""
    token = Issuance(
        id=new_id(NOW * 1000),
        token_digest=None,
        kind=IssuanceKind.MACHINE,
        subject="machine",
        client_id="machine",
        resource_id=None,
        scopes=("read", "write"),
        authorization_id=None,
        issued_at=NOW,
        expires_at=NOW + 900,
        parent_jti=None,
    )

    async def write() -> None:
        db = await open_target(database_target)
        try:
            await db.write(lambda tx: append_issuance(tx, token))
        finally:
            await db.close()

    asyncio.run(write())
    return spell_id(token.id)


def test_tokens_are_listed_and_revoked(command: Command, jti: str, database_target: str) -> None:
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    row = (
        rf"jti={jti} type=client_credentials client_id=machine resource= status=active"
        rf' created_at={time} expires_at={time} scope="read write"\n'
    )
    assert re.fullmatch(row, command("admin", "token", "list").out)
    assert re.fullmatch(row, command("admin", "token", "list", "--client", "machine").out)
    for words in (("--client", "other"), ("--user", "ada"), ("--offset", "1")):
        assert command("admin", "token", "list", *words).out == "no tokens found\n"
    shown = json.loads(command("admin", "token", "list", "--json").out)
    assert (shown["total"], [token["jti"] for token in shown["tokens"]]) == (1, [jti])
    for _ in range(2):
        done = command("admin", "token", "revoke", "--jti", jti)
        assert (done.code, done.out, done.err) == (0, f"token revoked: jti={jti}\n", "")
    (row_of_trail,) = audited(database_target)
    assert (row_of_trail.action, row_of_trail.actor_id) == ("token.revoked", "admin")


def test_what_is_no_token_is_not_revoked(command: Command) -> None:
    assert command("admin", "token", "revoke").err == "error: --jti is required\n"
    done = command("admin", "token", "revoke", "--jti", "nothing")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
