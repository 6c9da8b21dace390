import json
from typing import Any

import pytest

from server.tests.cli.terminal import Command, Done, audited

ISSUER = "https://acme.idp.test"
JWKS_URI = f"{ISSUER}/jwks"


def in_json(command: Command, *words: str) -> Any:
    done = command("admin", *words, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out)


def create_idp(command: Command, issuer: str = ISSUER) -> dict[str, Any]:
    created = in_json(command, "idp", "create", "--name", "Acme", "--issuer", issuer, "--jwks-uri", JWKS_URI)
    return dict(created)


def create_user(command: Command) -> str:
    done = command("admin", "user", "create", "--email", "ada@example.com", "--password", "correct horse battery")
    return done.fields["id"]


def refused(done: Done, text: str) -> bool:
    return done.code == 1 and text in done.err and done.out == ""


def test_a_provider_lives_as_operators_say(command: Command, database_target: str) -> None:
    idp = create_idp(command)
    assert set(idp) == {"id", "name", "issuer", "jwks_uri", "audience", "enabled", "created_at", "updated_at"}
    assert (idp["issuer"], idp["jwks_uri"], idp["enabled"]) == (ISSUER, JWKS_URI, True)
    assert idp["audience"] == "http://localhost:9000"
    line = f'id={idp["id"]} name="Acme" issuer={ISSUER} jwks_uri={JWKS_URI}'
    assert command("admin", "idp", "list").out.startswith(line)
    changed = in_json(command, "idp", "update", "--id", idp["id"], "--name", "Acme 2", "--enabled", "false")
    assert (changed["name"], changed["enabled"]) == ("Acme 2", False)
    assert in_json(command, "idp", "show", "--id", idp["id"]) == changed
    assert in_json(command, "idp", "list") == [changed]
    assert command("admin", "idp", "delete", "--id", idp["id"]).out == f"idp deleted: id={idp['id']}\n"
    assert command("admin", "idp", "list").out == "no idps found\n"
    rows = [(row.action, row.actor_id, row.detail) for row in audited(database_target)]
    detail = f"id={idp['id']} issuer={ISSUER}"
    assert sorted(rows) == [
        ("idp.deleted", "admin", detail),
        ("idp.registered", "admin", detail),
        ("idp.updated", "admin", detail),
    ]


@pytest.mark.parametrize(
    ("name", "issuer", "jwks_uri", "text"),
    [
        ("Acme", "http://acme.idp.test", JWKS_URI, "issuer must be an https URL"),
        ("Acme", "https://user@acme.idp.test", JWKS_URI, "issuer must be an https URL"),
        ("Acme", f"{ISSUER}?x=1", JWKS_URI, "issuer must have no query"),
        ("Acme", f"{ISSUER}#x", JWKS_URI, "issuer must be an https URL"),
        ("Acme", ISSUER, "http://acme.idp.test/jwks", "jwks_uri must be an https URL"),
        ("x" * 256, ISSUER, JWKS_URI, "name must be 1 to 255 bytes"),
        ("Acme", "https://localhost", "", "jwks_uri cannot be discovered"),
        ("Acme", "https://127.0.0.1", "", "failed (address)"),
    ],
)
def test_a_provider_that_breaks_a_rule_is_not_registered(
    command: Command, name: str, issuer: str, jwks_uri: str, text: str
) -> None:
    words = ("--name", name, "--issuer", issuer, "--jwks-uri", jwks_uri)
    assert refused(command("admin", "idp", "create", *words), text)
    assert command("admin", "idp", "list").out == "no idps found\n"


def test_no_issuer_is_registered_twice_and_never_our_own(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    create_idp(command)
    words = ("admin", "idp", "create", "--name", "Again", "--jwks-uri", JWKS_URI, "--issuer")
    assert refused(command(*words, ISSUER), "issuer is already registered")
    monkeypatch.setenv("AUTHPLANE_SERVER_ISSUER", "https://auth.example.com")
    monkeypatch.setenv("AUTHPLANE_SESSION_SECURE", "true")
    monkeypatch.setenv("AUTHPLANE_ADMIN_ENABLED", "false")
    monkeypatch.setenv("AUTHPLANE_SESSION_SECRET", "a secret of the tests, long enough")
    for own in ("https://auth.example.com", "https://auth.example.com/"):
        assert refused(command(*words, own), "issuer is this server's own")


def test_policies_tell_no_bound_from_nothing_at_all(command: Command, database_target: str) -> None:
    idp = create_idp(command)["id"]
    base = ("xaa", "policy", "create", "--name", "p", "--idp-id", idp)
    free = in_json(command, *base)
    assert (free["scopes"], free["scopes_unrestricted"], free["client_ids"], free["resources"]) == ([], True, [], [])
    closed = in_json(command, *base, "--scopes", "")
    assert (closed["scopes"], closed["scopes_unrestricted"]) == ([], False)
    full = in_json(command, *base, "--scopes", "a,b", "--client-ids", "c", "--resources", "https://r.example")
    assert (full["scopes"], full["client_ids"], full["resources"]) == (["a", "b"], ["c"], ["https://r.example"])
    listed = in_json(command, "xaa", "policy", "list", "--idp-id", idp)
    assert {each["id"] for each in listed} == {free["id"], closed["id"], full["id"]}
    update = ("xaa", "policy", "update", "--id", full["id"])
    assert in_json(command, *update, "--enabled", "false")["scopes"] == ["a", "b"]
    assert in_json(command, *update, "--scopes-unrestricted")["scopes_unrestricted"]
    assert in_json(command, *update, "--client-ids", "")["client_ids"] == []
    assert in_json(command, "xaa", "policy", "show", "--id", full["id"])["enabled"] is False
    assert command("admin", "xaa", "policy", "delete", "--id", full["id"]).code == 0
    assert refused(command("admin", "xaa", "policy", "show", "--id", full["id"]), "policy not found")
    actions = [row.action for row in audited(database_target)]
    counted = [actions.count(f"xaa_policy.{what}") for what in ("created", "updated", "deleted")]
    assert counted == [3, 3, 1]


def test_a_policy_is_checked(command: Command) -> None:
    idp = create_idp(command)["id"]
    base = ("admin", "xaa", "policy", "create", "--name", "p", "--idp-id")
    assert refused(command(*base, "nobody"), "trusted IdP not found")
    assert refused(command(*base, idp, "--scopes", "a b"), "an entry of scopes is no scope")


def test_mappings_are_made_listed_and_deleted(command: Command, database_target: str) -> None:
    idp, user = create_idp(command)["id"], create_user(command)
    base = ("xaa", "mapping", "create", "--idp-id", idp, "--idp-subject")
    mapped = in_json(command, *base, "alice", "--local-user-id", user)
    assert (mapped["idp_subject"], mapped["local_user_id"]) == ("alice", user)
    assert "local_user_id" not in in_json(command, *base, "bob")
    assert refused(command("admin", *base, "alice"), "idp_subject is mapped already")
    assert refused(command("admin", *base, "eve", "--local-user-id", "nobody"), "user not found: nobody")
    assert len(in_json(command, "xaa", "mapping", "list", "--idp-id", idp)) == 2
    assert command("admin", "xaa", "mapping", "delete", "--id", mapped["id"]).code == 0
    assert refused(command("admin", "xaa", "mapping", "delete", "--id", mapped["id"]), "subject mapping not found")
    rows = [row for row in audited(database_target) if row.action.startswith("xaa_subject_mapping")]
    assert sorted(row.action.rpartition(".")[2] for row in rows) == ["created", "created", "deleted"]
    assert all("alice" not in row.detail for row in rows)


def test_what_belongs_to_a_provider_goes_with_it(command: Command) -> None:
    idp = create_idp(command)["id"]
    in_json(command, "xaa", "policy", "create", "--name", "p", "--idp-id", idp)
    in_json(command, "xaa", "mapping", "create", "--idp-id", idp, "--idp-subject", "alice")
    command("admin", "idp", "delete", "--id", idp)
    assert command("admin", "xaa", "policy", "list").out == "no policies found\n"
    assert command("admin", "xaa", "mapping", "list").out == "no subject mappings found\n"


def test_keys_that_cannot_be_fetched_are_reported(command: Command) -> None:
    created = in_json(command, "idp", "create", "--name", "A", "--issuer", ISSUER, "--jwks-uri", "https://127.0.0.1/k")
    done = command("admin", "idp", "refresh-keys", "--id", created["id"])
    assert refused(done, f"the keys of {ISSUER} cannot be had: fetch refused: address")
    assert refused(command("admin", "idp", "refresh-keys", "--id", "nobody"), "trusted IdP not found")
