"""The checks alone: what servers may send is anything."""

from email.utils import formatdate
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.doctor.challenge import check_challenge, parse_challenges, read_challenge
from authserver.doctor.clock import check_clocks, skew_of
from authserver.doctor.documents import Variant, well_known
from authserver.doctor.keys import check_key_set
from authserver.doctor.protected_resource import check_document, check_resource
from authserver.doctor.reporting import cleaner
from authserver.doctor.server_metadata import check_abilities, check_endpoints, check_issuer, spellings
from authserver.doctor.token import Demands, check_reception, check_token, forge_token, read_token
from authserver.doctor.visiting import Answer, is_loopback, is_plain, origin_of
from authserver.protocol.identifiers import base64url

NOW = 1_790_000_000
URL = "https://mcp.example.com/mcp"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def documents(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have the members that are looked at, of any type."""
    urls = st.sampled_from(["https://a.example.com", "http://[", "//x", "https://a.example.com:99999/", "", "S256"])
    values = json_values | urls | st.lists(urls | json_values, max_size=3)
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=5), values, max_size=len(names))


def an_answer(**fields: Any) -> Answer:
    headers = {"date": formatdate(NOW, usegmt=True)} | fields.pop("headers", {})
    given: dict[str, Any] = {"method": "GET", "url": URL, "status": 200, "body": b"", "received_at": NOW}
    return Answer(**given | fields, headers=headers)


DEMANDS = Demands(
    issuers=frozenset({"https://a.example.com"}), audience=URL, scopes=frozenset({"s"}), keys=None, times=(NOW,)
)


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("Bearer", [("bearer", {})]),
        ('Bearer realm="a, b", scope="x y"', [("bearer", {"realm": "a, b", "scope": "x y"})]),
        (
            'Basic realm="x", BEARER Error=invalid_token',
            [("basic", {"realm": "x"}), ("bearer", {"error": "invalid_token"})],
        ),
        ('DPoP algs="ES256", Bearer', [("dpop", {"algs": "ES256"}), ("bearer", {})]),
        (r'Bearer realm="a \"b\""', [("bearer", {"realm": 'a "b"'})]),
        ("Bearer resource_metadata=https://a.example/x", [("bearer", {"resource_metadata": "https://a.example/x"})]),
        ('Bearer a="1", a="2"', [("bearer", {"a": "1"})]),
        (", ,", []),
        ("", []),
    ],
)
def test_challenges_are_read_as_http_writes_them(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == challenges


@given(st.text(max_size=200))
def test_any_challenge_can_be_read(header: str) -> None:
    answer = an_answer(status=401, headers={"www-authenticate": header})
    parse_challenges(header)
    list(check_challenge(answer))
    read_challenge(answer)
    list(check_reception(answer, ()))


@given(documents("resource", "authorization_servers", "scopes_supported"))
def test_any_resource_document_can_be_read(document: dict[str, Any]) -> None:
    list(check_document(document, Variant(url=URL, answer=None, document=document), URL))


@given(
    documents(
        *("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint"),
        *("code_challenge_methods_supported", "client_id_metadata_document_supported"),
    )
)
def test_any_server_document_can_be_read(document: dict[str, Any]) -> None:
    list(check_issuer(document, URL, "https://a.example.com"))
    list(check_abilities(document, URL))
    list(check_endpoints(document, URL, "https://a.example.com"))


@given(st.binary(max_size=50) | st.lists(documents("kty", "kid", "use", "alg", "x", "y", "crv", "d") | json_values).map(
    lambda keys: orjson.dumps({"keys": keys})
))  # fmt: skip
def test_any_key_set_can_be_read(body: bytes) -> None:
    list(check_key_set(an_answer(body=body)))


@given(
    documents("alg", "kid", "typ"),
    documents("iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp", "cnf"),
    st.binary(max_size=10),
)
def test_any_token_can_be_read(header: dict[str, Any], claims: dict[str, Any], signature: bytes) -> None:
    token = ".".join(base64url(part) for part in (orjson.dumps(header), orjson.dumps(claims), signature))
    list(check_token(token, DEMANDS))


@given(st.text(max_size=100))
def test_any_text_can_be_taken_for_a_token(token: str) -> None:
    list(check_token(token, DEMANDS))


@given(st.text(max_size=40), st.text(max_size=10))
def test_any_date_can_be_read(date: str, age: str) -> None:
    list(check_clocks([an_answer(headers={"date": date, "age": age})]))


def test_a_cached_answer_does_not_make_a_clock_slow() -> None:
    cached = an_answer(headers={"date": formatdate(NOW - 3000, usegmt=True), "age": "3000"})
    assert skew_of(cached) == 0


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (URL, None),
        (None, "resource-missing"),
        (f"{URL}/", "resource-slash"),
        ("https://MCP.example.com/mcp", "resource-case"),
        ("https://mcp.example.com:443/mcp", "resource-case"),
        ("https://mcp.example.com", "resource-path"),
        ("https://mcp.example.com/MCP", "resource-path"),
        ("https://mcp.example.com:8443/mcp", "resource-origin"),
        ("http://mcp.example.com/mcp", "resource-origin"),
        ("urn:notes", "resource-origin"),
    ],
)
def test_how_a_resource_is_misspelled_is_told(resource: str | None, code: str | None) -> None:
    assert [found.code.name for found in check_resource(resource, URL, URL)] == ([code] if code else [])


def test_documents_are_looked_for_where_clients_look() -> None:
    assert well_known("https://h/p/", "n") == "https://h/.well-known/n/p"
    assert well_known("https://h/", "n") == "https://h/.well-known/n"
    assert spellings("https://h") == [
        "https://h/.well-known/oauth-authorization-server",
        "https://h/.well-known/openid-configuration",
    ]
    assert spellings("https://h/p") == [
        "https://h/.well-known/oauth-authorization-server/p",
        "https://h/.well-known/openid-configuration/p",
        "https://h/p/.well-known/openid-configuration",
    ]


def test_a_forged_token_is_right_in_everything_but_its_signature() -> None:
    names = [found.code.name for found in check_token(forge_token(DEMANDS, alg="ES256"), DEMANDS)]
    assert names == []
    unsigned = forge_token(DEMANDS, alg="none")
    assert unsigned.endswith(".")
    assert [found.code.name for found in check_token(unsigned, DEMANDS)] == ["token-algorithm"]
    assert read_token(unsigned) is not None


def test_hosts_of_this_machine_may_speak_plain_http() -> None:
    assert all(map(is_loopback, ("localhost", "a.localhost", "127.0.0.9", "[::1]")))
    assert not any(map(is_loopback, ("example.com", "10.0.0.1", "localhost.example.com")))
    assert is_plain("http://10.0.0.1/")
    assert not is_plain("http://localhost/")
    assert not is_plain("https://example.com/")
    assert origin_of("HTTPS://Example.com:443/x") == "https://example.com"


def test_what_is_told_holds_no_part_of_the_token_and_nothing_for_a_terminal() -> None:
    clean = cleaner("eyJhbGciOiJ.eyJzdWIiOiJ.c2lnbmF0dXJl")
    said = clean("bad eyJhbGciOiJ.eyJzdWIiOiJ.c2lnbmF0dXJl, or eyJzdWIiOiJ\x1b[31m" + "x" * 9999)
    assert "eyJ" not in said
    assert "\x1b" not in said
    assert len(said) < 600
