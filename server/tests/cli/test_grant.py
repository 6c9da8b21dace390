import asyncio
import json
import re

import pytest

from authserver.authorization.consent_store import save_consent
from authserver.authorization.records import ConsentGrant
from authserver.protocol.identifiers import spell_id
from server.tests.cli.terminal import Command, audited
from server.tests.conftest import open_target

CONSENT = bytes(range(16))
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture
def ends(command: Command, database_target: str) -> dict[str, str]:
    """The ids of a user, a client and a resource; the user allowed the client two scopes there."""
    made = {
        "user_id": command(
            "admin", "user", "create", "--email", "ada@example.com", "--password", "correct horse battery"
        ),
        "client_id": command(
            "admin", "client", "create", "--name", "Ada", "--redirect-uris", "http://127.0.0.1/callback"
        ),
        "resource_id": command("admin", "resource", "create", "--slug", "notes", "--backend-kind", "mint"),
    }
    ids = {name: done.fields["id"] for name, done in made.items()}
    consent = ConsentGrant(
        id=CONSENT, scopes=("read", "write"), redirect_uris=(), created_at=0, updated_at=0, revoked_at=None, **ids
    )

    async def allow() -> None:
        db = await open_target(database_target)
        try:
            await db.write(lambda tx: save_consent(tx, consent))
        finally:
            await db.close()

    asyncio.run(allow())
    return ids


def test_what_a_user_allowed_is_listed_and_taken_back_once(
    command: Command, ends: dict[str, str], database_target: str
) -> None:
    consent_id = spell_id(CONSENT)
    listing = ("admin", "grant", "list-user-grants", "--user", ends["user_id"])
    row = f"  id={consent_id} " + " ".join(f"{name}={value}" for name, value in ends.items()) + " scopes=[read write]"
    assert command(*listing).out == f"consent_grants (1):\n{row}\nbroker_grants (0):\n"
    assert "revoked_at" not in json.loads(command(*listing, "--json").out)["consent_grants"][0]
    for _ in range(2):
        done = command("admin", "grant", "revoke-consent", "--id", consent_id)
        assert (done.code, done.out, done.err) == (0, f"revoked consent grant: id={consent_id}\n", "")
    assert re.fullmatch(
        rf"consent_grants \(1\):\n{re.escape(row)} revoked_at={TIME}\nbroker_grants \(0\):\n", command(*listing).out
    )
    (shown,) = json.loads(command(*listing, "--json").out)["consent_grants"]
    assert re.fullmatch(TIME, shown["revoked_at"])
    rows = [each for each in audited(database_target) if each.action == "consent_grant.revoked_admin"]
    assert {(each.actor_id, each.ip) for each in rows} == {("admin", "")}
    assert rows[0].detail.endswith("revoked_issuances=0 revoked_families=0")


def test_an_unknown_user_allowed_nothing_and_an_unknown_consent_is_none(command: Command) -> None:
    assert (
        command("admin", "grant", "list-user-grants", "--user", "x").out == "consent_grants (0):\nbroker_grants (0):\n"
    )
    for unknown in ("x", spell_id(CONSENT)):
        done = command("admin", "grant", "revoke-consent", "--id", unknown)
        assert (done.code, done.out) == (0, f"revoked consent grant: id={unknown}\n")
    for words in (("list-user-grants",), ("revoke-consent",)):
        refused = command("admin", "grant", *words)
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
