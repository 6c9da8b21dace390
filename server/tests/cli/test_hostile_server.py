"""Who answers in a server's place, or chose a name that one repeats, gets nothing but text on the operator's terminal."""

import json
from collections.abc import Iterator

import click
import pytest

from server.tests.cli.serving import API_KEY, answering
from server.tests.cli.terminal import Command
from server.tests.cli.test_main import EVERY_COMMAND

OBEYED = "\x1b]0;owned\x07\x9b2J\u202egnp.exe\x7f\nid=forged\u2028"
MEMBERS = [
    "agent_description",
    "action",
    "actor_id",
    "api_key",
    "application_type",
    "backend_kind",
    "client_id",
    "client_name",
    "client_secret",
    "code",
    "count",
    "created_at",
    "description",
    "detail",
    "display_name",
    "email",
    "endpoint",
    "error",
    "expires_at",
    "fix",
    "hash",
    "id",
    "ip",
    "issued_at",
    "issuer",
    "jti",
    "jws",
    "key",
    "kid",
    "last_used",
    "meaning",
    "mode",
    "name",
    "reason",
    "reference",
    "registration_source",
    "request_id",
    "resource",
    "resource_id",
    "resource_slug",
    "revoked_at",
    "role",
    "scope",
    "secret",
    "since",
    "slug",
    "status",
    "subject",
    "subject_user_id",
    "time",
    "token_endpoint_auth_method",
    "trace_id",
    "type",
    "user_id",
    "version",
    "alg",
    "use",
    "audience",
    "jwks_uri",
    "idp_id",
    "idp_subject",
    "local_user_id",
    "total",
    "number",
    "destination",
    "last_error",
]
LISTS = [
    "grant_types",
    "redirect_uris",
    "response_types",
    "scopes",
    "client_ids",
    "resources",
    "keys",
    "tokens",
    "issuances",
    "steps",
    "consent_grants",
    "broker_grants",
]


def needed(command: click.Command) -> Iterator[str]:
    """Return the options that a command must have."""
    for option in command.params:
        name = option.opts[-1]
        if isinstance(option, click.Argument):
            yield "ref_aaaaaaaaaaaaaaaaaaaa"
        elif "required" in str(getattr(option, "help", "")).lower() or name == "--client":
            yield from (name, {"--role": "admin", "--email": "a@b.example"}.get(name, "a"))


ASKING = {
    words: (*words, *needed(command))
    for words, command in EVERY_COMMAND.items()
    if words[:1] == ("admin",)
    and not isinstance(command, click.Group)
    and getattr(command.callback, "__name__", "") != "refuse_server"
}
FORMS: tuple[object, ...] = (1, [None], {}, [{}], {"tokens": [None], "keys": [{}], "issuances": "a"})


def answered(value: object, status: str = "200 OK", kind: str = "application/json") -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def is_harmless(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def test_there_are_commands_that_ask() -> None:
    assert len(ASKING) > 40


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_what_a_server_says_is_text_to_the_terminal(terminal: Command, words: tuple[str, ...]) -> None:
    thing: dict[str, object] = dict.fromkeys(MEMBERS, OBEYED) | {
        "steps": [{"step": OBEYED, OBEYED: OBEYED}],
        "tokens_revoked": OBEYED,
    }
    thing |= {name: [OBEYED] for name in LISTS}
    thing |= {"number": 1, "enabled": True, "scopes_unrestricted": False}
    several = {"keys": [thing], "tokens": [thing], "issuances": [thing]}
    for value in ([thing], thing | several):
        with answering(answered(value)) as (url, _):
            for line in (ASKING[words], (*ASKING[words], "--json")):
                done = terminal(*line, "--server", url, "--api-key", API_KEY, stdin="a password\n")
                assert is_harmless(done.out + done.err), (line, done)
                if "--json" not in line:
                    assert "\nid=forged" not in done.out + done.err


@pytest.mark.parametrize("words", ASKING, ids=" ".join)
def test_json_of_another_form_is_somebody_else(terminal: Command, words: tuple[str, ...]) -> None:
    deep = b"[" * 900 + b"]" * 900
    for value, line in (*((form, ASKING[words]) for form in FORMS), (deep, (*ASKING[words], "--json"))):
        with answering(answered(value)) as (url, _):
            done = terminal(*line, "--server", url, "--api-key", API_KEY, stdin="a password\n")
        assert done.code in {0, 1}
        if done.code:
            assert done.err.startswith("error: ")
            assert done.err.count("\n") == 1
            assert API_KEY not in done.err


@pytest.mark.parametrize("member", ["detail", "error_description"])
def test_a_refusal_is_text_to_the_terminal(terminal: Command, member: str) -> None:
    refusal = answered({member: OBEYED}, "403 Forbidden", "application/problem+json")
    with answering(refusal) as (url, _):
        done = terminal("admin", "client", "list", "--server", url, "--api-key", API_KEY)
    assert (done.code, done.out) == (1, "")
    assert is_harmless(done.err)
    assert done.err.count("\n") == 1
