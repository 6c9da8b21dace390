import json
import re
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

SECRET = r"client_secret=[\w-]{43} \(shown once, store securely\)\n"
LOOPBACK = ("--redirect-uris", "http://127.0.0.1/callback")
SIGNING = ("--name", "Ada", *LOOPBACK, "--auth-method", "private_key_jwt")
JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


def create(command: Command, *words: str, name: str = "Ada") -> str:
    done = command("admin", "client", "create", "--name", name, *LOOPBACK, *words)
    assert done.code == 0, done.err
    return done.fields["id"]


def test_a_public_client_is_created(command: Command, database_target: str) -> None:
    done = command("admin", "client", "create", "--name", "Ada's client", *LOOPBACK)
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"client created: id=[\w-]{22} name=Ada's client\n", done.out)
    (row,) = audited(database_target)
    assert (row.action, row.actor_id, row.ip) == ("client.created_admin", "admin", "")
    assert row.client_id == done.fields["id"]


def test_the_secret_of_a_confidential_client_is_shown_once(command: Command) -> None:
    done = command("admin", "client", "create", "--name", "Ada", "--auth-method=client_secret_basic", *LOOPBACK)
    assert re.fullmatch(rf"client created: id=[\w-]{{22}} name=Ada\n{SECRET}", done.out)
    assert "client_secret" not in command("admin", "client", "list").out


def test_what_is_not_given_comes_from_the_environment(command: Command) -> None:
    done = command(
        *("admin", "client", "create"),
        AUTHSERVER_CLIENT_NAME="Env",
        AUTHSERVER_CLIENT_REDIRECT_URIS="http://127.0.0.1/a, http://127.0.0.1/b",
        AUTHSERVER_CLIENT_GRANT_TYPES="authorization_code",
        AUTHSERVER_CLIENT_SCOPE="read write",
        AUTHSERVER_CLIENT_AUTH_METHOD="client_secret_post",
    )
    assert done.code == 0, done.err
    assert done.fields["name"] == "Env"
    assert "client_secret=" in done.out


def test_a_flag_beats_the_environment(command: Command) -> None:
    done = command("admin", "client", "create", "--name", "Flag", *LOOPBACK, AUTHSERVER_CLIENT_NAME="Env")
    assert done.fields["name"] == "Flag"


def test_an_agent_may_be_described(command: Command) -> None:
    create(command, "--agent", "--agent-description", "Books rooms")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (LOOPBACK, "--name is required"),
        (("--name", "Ada"), "redirect_uris is required"),
        (("--name", "Ada", *LOOPBACK, "--scope", "a\\b"), "scope"),
        (("--name", "Ada", *LOOPBACK, "--auth-method", "private_key_jwt"), "exactly one of jwks and jwks_uri"),
        (("--name", "Ada", *LOOPBACK, "--jwks-uri", "https://a.example/jwks"), "for private_key_jwt only"),
        ((*SIGNING, "--jwks-uri", "http://a.example/jwks"), "jwks_uri must be an https URL"),
        ((*SIGNING, "--jwks-file", "/nowhere/jwks.json"), "--jwks-file cannot be read: No such file"),
        ((*SIGNING, "--jwks-file", __file__), "--jwks-file is not JSON"),
        (("--name", "Ada", *LOOPBACK, "--auth-method", "magic"), "'magic' is not supported"),
    ],
)
def test_what_may_not_be_registered_is_refused(command: Command, words: tuple[str, ...], sentence: str) -> None:
    done = command("admin", "client", "create", *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert sentence in done.err
    assert command("admin", "client", "list").out == "no clients found\n"


def test_only_what_is_given_changes(command: Command) -> None:
    client_id = create(command)
    done = command("admin", "client", "update", "--id", client_id, "--name", "Grace")
    assert (done.code, done.out) == (0, f"client updated: id={client_id} name=Grace\n")
    done = command("admin", "client", "update", "--scope", "read", AUTHSERVER_CLIENT_ID=client_id)
    assert (done.code, done.out) == (0, f"client updated: id={client_id} name=Grace\n")


def test_a_client_is_given_keys_and_others_later(command: Command, tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [JWK]}))
    done = command("admin", "client", "create", *SIGNING, "--jwks-file", str(jwks))
    assert re.fullmatch(r"client created: id=[\w-]{22} name=Ada\n", done.out), done.err
    update = ("admin", "client", "update", "--id", done.fields["id"])
    assert command(*update, "--jwks-uri", "https://a.example/jwks").code == 0
    assert command(*update, "--name", "Grace").code == 0
    assert command(*update, "--jwks-file", str(jwks)).code == 0
    done = command(*update, "--jwks-uri", "http://a.example/jwks")
    assert (done.code, "jwks_uri must be an https URL" in done.err) == (1, True)


def test_a_client_of_another_method_is_given_no_keys(command: Command) -> None:
    done = command("admin", "client", "update", "--id", create(command), "--jwks-uri", "https://a.example/jwks")
    assert (done.code, "jwks and jwks_uri are for private_key_jwt only" in done.err) == (1, True)


def test_a_secret_is_rotated(command: Command, database_target: str) -> None:
    client_id = create(command, "--auth-method", "client_secret_basic")
    done = command("admin", "client", "rotate-secret", "--id", client_id)
    assert re.fullmatch(rf"secret rotated: client_id={client_id}\n{SECRET}", done.out)
    assert audited(database_target)[-1].action == "client.secret_rotated"


def test_a_client_without_secret_has_none_to_rotate(command: Command) -> None:
    done = command("admin", "client", "rotate-secret", "--id", create(command))
    assert (done.code, done.out, done.err) == (1, "", "error: the client has no secret\n")


@pytest.mark.parametrize("verb", ["update", "delete", "rotate-secret", "suspend", "reactivate", "revoke"])
def test_an_unknown_client_is_refused(command: Command, verb: str) -> None:
    done = command("admin", "client", verb, "--id", "nobody")
    assert (done.code, done.out, done.err) == (1, "", "error: client not found\n")


@pytest.mark.parametrize("verb", ["update", "delete", "rotate-secret", "suspend", "reactivate", "revoke"])
def test_the_id_is_required(command: Command, verb: str) -> None:
    done = command("admin", "client", verb)
    assert (done.code, done.out, done.err) == (1, "", "error: --id is required\n")


def test_a_client_is_deleted(command: Command) -> None:
    client_id = create(command)
    done = command("admin", "client", "delete", "--id", client_id, "--force")
    assert (done.code, done.out) == (0, f"client deleted: id={client_id}\n")
    assert command("admin", "client", "list").out == "no clients found\n"


def test_a_status_is_changed(command: Command) -> None:
    client_id = create(command)
    for verb, word in (("suspend", "suspended"), ("reactivate", "reactivated"), ("revoke", "revoked")):
        assert command("admin", "client", verb, "--id", client_id).out == f"client {word}: id={client_id}\n"
    done = command("admin", "client", "list")
    assert done.out == f"id={client_id} name=Ada status=revoked source=admin\n"
    done = command("admin", "client", "list", "--last-used")
    assert done.out == f"id={client_id} name=Ada status=revoked source=admin last_used=never\n"


def test_a_list_is_filtered_and_bounded(command: Command) -> None:
    ids = {create(command, name=name) for name in ("One", "Two", "Three")}
    command("admin", "client", "suspend", "--id", next(iter(ids)))

    def count(*words: str) -> int:
        out = command("admin", "client", "list", *words).out
        return 0 if out == "no clients found\n" else len(out.splitlines())

    assert (count(), count("--limit", "2"), count("--status=active"), count("--status", "suspended")) == (3, 2, 2, 1)
    assert (count("--source", "admin"), count("--source", "dcr"), count("--source", "cimd")) == (3, 0, 0)
    assert command("admin", "client", "list", "--status", "gone").code == 1


def test_one_client_is_shown_with_what_it_registered(command: Command) -> None:
    client_id = create(command, "--scope", "read write")
    done = command("admin", "client", "get", "--id", client_id)
    assert done.code == 0, done.err
    assert f"id={client_id} name=Ada status=active source=admin last_used=never issued_at=20" in done.out
    assert "redirect_uris=http://127.0.0.1/callback" in done.out
    assert command("admin", "client", "get", "--id", "nobody").err == "error: client not found: nobody\n"


def test_a_client_may_be_named_by_the_url_of_its_document(command: Command) -> None:
    url = "https://app.example/client.json"
    assert create(command, "--client-id", url) == url
    assert f"id={url} name=Ada status=active source=admin" in command("admin", "client", "list").out
    again = command("admin", "client", "create", "--name", "Ada", *LOOPBACK, "--client-id", url)
    assert (again.code, "there is a client with this client_id already" in again.err) == (1, True)
