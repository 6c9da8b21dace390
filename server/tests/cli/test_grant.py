import asyncio
import json
import re
from pathlib import Path

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


ENCRYPTS = {
    "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "aes_master",
    "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV": "MASTER",
    "MASTER": "5e" * 32,
}
CREDENTIAL = '{"api_key": "users-key-Zq8"}'


def test_a_credential_is_given_from_a_file_or_standard_input_listed_and_revoked(
    command: Command, tmp_path: Path, database_target: str
) -> None:
    user_id = command("admin", "user", "create", "--email", "ada@example.com", "--password", "correct horse").fields[
        "id"
    ]
    search = ("--slug", "search", "--display-name", "Search", "--protocol", "api_key", "--config-data", "{}")
    provider_id = command("admin", "provider", "create", *search).fields["id"]
    path = tmp_path / "credential.json"
    path.write_text(CREDENTIAL)
    give = ("admin", "grant", "set-broker", "--user", user_id)

    first = command(*give, "--provider", "search", "--credential-file", str(path), "--scopes", "a, b", **ENCRYPTS)
    assert first.code == 0, first.err
    about = f"id={first.fields['id']} user_id={user_id} broker_provider_id={provider_id}"
    assert first.out == f"broker grant set: {about} version=1\n"
    second = command(*give, "--provider", provider_id, "--credential-file", "-", stdin=CREDENTIAL, **ENCRYPTS)
    assert second.out == f"broker grant set: {about} version=2\n"

    listing = ("admin", "grant", "list-user-grants", "--user", user_id)
    row = f"  {about} scopes_granted=[] version=2"
    assert command(*listing).out == f"consent_grants (0):\nbroker_grants (1):\n{row}\n"
    for _ in range(2):
        done = command("admin", "grant", "revoke-broker", "--id", first.fields["id"])
        assert (done.code, done.out) == (0, f"revoked broker grant: id={first.fields['id']}\n")
    listed = command(*listing).out
    assert re.fullmatch(rf"consent_grants \(0\):\nbroker_grants \(1\):\n{re.escape(row)} revoked_at={TIME}\n", listed)
    shown = json.loads(command(*listing, "--json").out)["broker_grants"]
    assert [(each["enc_backend"], each["version"]) for each in shown] == [("aes_master", 2)]
    told = [(row.action, row.actor_id) for row in audited(database_target) if row.action.startswith("broker_grant.")]
    assert told == [
        ("broker_grant.created_admin", "admin"),
        ("broker_grant.created_admin", "admin"),
        ("broker_grant.revoked_admin", "admin"),
    ]
    assert "Zq8" not in first.out + first.err + second.out + second.err + listed + str(shown)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "--user is required"),
        (("--user", "x"), "--provider is required"),
        (("--user", "x", "--provider", "search"), "--credential-file is required"),
        (("--user", "x", "--provider", "search", "--credential-file", "nowhere.json"), "nowhere.json"),
        (("--user", "x", "--provider", "search", "--credential-file", "list.json"), "list.json is not a JSON object"),
        (("--user", "x", "--provider", "search", "--credential-file", "text.json"), "text.json is not JSON"),
        (("--user", "x", "--provider", "search", "--credential-file", "whole.json"), "user not found: x"),
    ],
)
def test_what_is_no_credential_is_one_line_of_error(
    command: Command, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    for name, text in (("list", '["Zq8"]'), ("text", "users-key-Zq8"), ("whole", CREDENTIAL)):
        (tmp_path / f"{name}.json").write_text(text)
    done = command("admin", "grant", "set-broker", *words)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert told in done.err
    assert "Zq8" not in done.err


def test_a_credential_to_revoke_is_named(command: Command) -> None:
    assert command("admin", "grant", "revoke-broker").err == "error: --id is required\n"
