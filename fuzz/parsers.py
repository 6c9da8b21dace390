"""What the parsers must agree with: a second reading of the same input, or themselves on what they wrote."""

import json
import re
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlencode, urlsplit

import jwt

from authserver.clients.authentication import parse_client_credentials
from authserver.clients.store import find_client
from authserver.protocol.client_metadata import parse_registration
from authserver.protocol.errors import OAuthError
from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.jose import InvalidToken, read_unverified_jwt
from authserver.protocol.redirect_uris import (
    add_query,
    check_redirect_uri,
    form_action_source,
    is_loopback,
    match_redirect_uri,
    redirect_host,
)
from authserver.protocol.resource_indicators import fold_resource
from authserver.protocol.safe_redirect import safe_redirect
from authserver.protocol.scopes import build_scope, parse_scopes
from authserver.protocol.uris import parse_uri
from authserver.web.forms import LONGEST, Form, parse_form
from fuzz.world import REDIRECT, Answer, World

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
TOKEN_TYPES = {"Bearer", "DPoP"}
USER_GRANTS = frozenset({"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"})
GRANTS = USER_GRANTS | {
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
METHODS = frozenset({"none", "client_secret_basic", "client_secret_post", "private_key_jwt"})


def sent_state(query: bytes) -> str:
    """Return the state that must come back: the first that can be read, as the standard library reads it, if not too long."""
    for part in query.split(b"&"):
        if BROKEN_ESCAPE.search(part):
            continue
        try:
            pairs = parse_qsl(part.decode(), encoding="utf-8", errors="strict")
        except UnicodeDecodeError:
            continue
        for name, value in pairs:
            if name == "state" and "\0" not in value:
                return value if len(value) <= LONGEST["state"] else ""
    return ""


def check_token_answer(path: str, body: bytes) -> None:
    """Check a success: of the token endpoint, of introspection, or the empty one of revocation."""
    if path == "/oauth/revoke":
        assert body == b""
        return
    members = json.loads(body)
    if path == "/oauth/introspect":
        assert members == {"active": False}, members
        return
    assert members["token_type"] in TOKEN_TYPES
    assert members["scope"] == "notes:read"
    claims = jwt.decode(members["access_token"], options={"verify_signature": False})
    assert claims["aud"] == ["https://mcp.example.com/mcp"]


def check_bound_answer(body: bytes, *, jkt: str) -> None:
    """Check a token that is bound to a key."""
    members = json.loads(body)
    assert members["token_type"] == "DPoP"
    claims = jwt.decode(members["access_token"], options={"verify_signature": False})
    assert claims["cnf"] == {"jkt": jkt}


def check_asserted_answer(body: bytes) -> dict[str, Any]:
    """Check a token that an identity assertion bought; return its claims."""
    members = json.loads(body)
    assert members.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (members["token_type"], members["scope"]) == ("Bearer", "notes:read")
    claims: dict[str, Any] = jwt.decode(members["access_token"], options={"verify_signature": False})
    assert claims["aud"] in (["https://mcp.example.com/mcp"], ["http://localhost:9000"])
    return claims


def check_started(body: bytes) -> None:
    """Check what a device is given."""
    members = json.loads(body)
    assert re.fullmatch("[A-Za-z0-9_-]{43}", members["device_code"])
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", members["user_code"])
    assert members["verification_uri_complete"] == f"{members['verification_uri']}?user_code={members['user_code']}"
    assert (members["expires_in"], members["interval"]) == (600, 5)


async def check_registered(world: World, body: bytes) -> None:
    """Check that a client that got in is what may get in, and reads back as it was answered."""
    members = json.loads(body)
    for uri in members["redirect_uris"]:
        check_redirect_uri(uri, is_public=members["token_endpoint_auth_method"] == "none")
        assert match_redirect_uri(uri, members["redirect_uris"]) == uri
    assert 0 < len(members["client_name"].encode()) <= 255
    assert not CONTROLS.search(members["client_name"])
    assert set(members["grant_types"]) <= GRANTS
    assert members["token_endpoint_auth_method"] in METHODS
    assert members["application_type"] in {"web", "native"}
    client = await find_client(world.core.db, members["client_id"])
    assert client is not None
    assert not client.scope or USER_GRANTS.issuperset(client.grant_types)
    assert list(client.redirect_uris) == members["redirect_uris"]
    assert client.name == members["client_name"]
    assert (client.secret_hash == "") == ("client_secret" not in members)
    # What we answered would register the same client again.
    stated = {name: value for name, value in members.items() if not name.startswith("client_") or name == "client_name"}
    again = parse_registration(stated, served_grants=GRANTS, served_auth_methods=METHODS)
    assert list(again.redirect_uris) == members["redirect_uris"]
    assert again.client_name == members["client_name"]


async def check_document_client(world: World, url: str, answer: Answer) -> None:
    """Check that a believed document made a client that may be one, and that another one made none."""
    client = await find_client(world.core.db, url)
    if answer.status == 303:
        assert client is not None
        assert REDIRECT in client.redirect_uris
    if client is None:
        return
    assert client.token_endpoint_auth_method in {"none", "private_key_jwt"}
    assert client.is_public == (client.token_endpoint_auth_method == "none")
    assert not client.secret_hash
    assert client.name.strip()
    assert not CONTROLS.search(client.name)
    assert set(client.grant_types) <= GRANTS
    assert not client.scope or USER_GRANTS.issuperset(client.grant_types)
    for uri in client.redirect_uris:
        check_redirect_uri(uri, is_public=True)


def check_all(data: bytes) -> None:
    """Hold every parser against its second reading."""
    _check_form(data)
    text = data.decode("utf-8", "replace")
    _check_redirects(text)
    _check_resource(text)
    _check_scopes(text)
    _check_token(text)
    _check_credentials(text)
    _check_identifiers(text)
    _check_path(text)


def _check_form(data: bytes) -> None:
    """As ``urllib`` reads it, where it is well-formed; and as itself, written anew."""
    try:
        form = parse_form(data)
    except OAuthError:
        return
    expected: dict[str, list[str]] = {}
    for part in data.split(b"&"):
        name, _, value = part.partition(b"=")
        if part:
            key = unquote_to_bytes(name.replace(b"+", b" ")).decode()
            expected.setdefault(key, []).append(unquote_to_bytes(value.replace(b"+", b" ")).decode())
    assert form._values == expected
    pairs = [(name, value) for name, values in expected.items() for value in values]
    assert parse_form(urlencode(pairs).encode())._values == expected
    assert set(Form(expected).repeated()) == {name for name, values in expected.items() if len(values) > 1}


def _check_redirects(text: str) -> None:
    uri, _, other = text.partition("\n")
    try:
        check_redirect_uri(uri, is_public=True)
    except OAuthError:
        assert match_redirect_uri(uri, [uri]) is None
        return
    assert match_redirect_uri(uri, [uri]) == uri
    parts = parse_uri(uri)
    assert parts is not None
    # The standard library's reading of who is meant is ours.
    split = urlsplit(uri)
    if parts.is_web:
        assert (split.hostname or "") == parts.host.strip("[]").lower(), uri
        assert redirect_host(uri) == parts.host
    assert split.username is None
    assert is_loopback(uri) <= (parts.host in {"localhost", "127.0.0.1", "[::1]"})
    assert not re.search(r"[\s;,'\"]", form_action_source(uri)), uri
    answered = add_query(uri, {"state": other, "code": "c"})
    assert parse_uri(answered) is not None or len(answered) > 8192
    assert dict(parse_qsl(urlsplit(answered).query, keep_blank_values=True))["code"] == "c"
    matched = match_redirect_uri(other, [uri])
    if matched is not None and other != uri:
        assert is_loopback(uri)
        assert is_loopback(other)
        assert match_redirect_uri(uri, [other]) == other


def _check_resource(text: str) -> None:
    folded = fold_resource(text)
    assert fold_resource(folded) == folded
    if folded == text:
        return
    try:
        before, after = urlsplit(text), urlsplit(folded)
    except ValueError:  # no host: nobody has registered it
        return
    assert (before.hostname, before.query, before.fragment) == (after.hostname, after.query, after.fragment)


def _check_scopes(text: str) -> None:
    try:
        scopes = parse_scopes(text)
    except OAuthError:
        return
    assert len(set(scopes)) == len(scopes)
    assert parse_scopes(build_scope(scopes)) == scopes
    assert set(scopes) == set(re.split(r"[ \t\r\n\f\v]+", text)) - {""}


def _check_token(text: str) -> None:
    """What we read of a token, PyJWT reads, too; we may refuse more."""
    try:
        unverified = read_unverified_jwt(text)
    except InvalidToken:
        return
    assert text.count(".") == 2
    try:
        theirs = jwt.decode_complete(text, options={"verify_signature": False})
    except jwt.PyJWTError:
        return
    assert theirs["header"] == unverified.header
    assert theirs["payload"] == unverified.claims


def _check_credentials(text: str) -> None:
    header, _, rest = text.partition("\n")
    client_id, _, secret = rest.partition("\n")
    try:
        credentials = parse_client_credentials(header, client_id, secret)
    except OAuthError:
        return
    assert credentials.client_id
    assert client_id in {"", credentials.client_id}
    assert secret in {"", credentials.client_secret}


def _check_identifiers(text: str) -> None:
    identifier = parse_id(text)
    assert identifier is None or spell_id(identifier) == text


def _check_path(text: str) -> None:
    path = safe_redirect(text)
    assert path in {None, text}
    if path is not None:
        split = urlsplit(path)
        assert (split.scheme, split.netloc) == ("", "")
        assert "\\" not in path
