import asyncio
import base64

import bcrypt
import pytest

from authserver.clients.assertions import ClientAssertions
from authserver.clients.authentication import ClientAuthenticator, ClientCredentials, parse_client_credentials
from authserver.clients.client_keys import ClientKeys
from authserver.clients.records import Client, ClientStatus
from authserver.clients.secrets import ClientSecrets
from authserver.clients.store import find_client, insert_client
from authserver.config.secret import Secret
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.errors import InvalidClient
from authserver.storage.database import Database, StorageUnavailable
from server.tests.clients.builders import NOW, a_client

pytestmark = pytest.mark.anyio

SECRETS = ClientSecrets(Secret("a pepper of some length"))
CONFIDENTIAL = a_client(secret_hash=SECRETS.hash("s3cret"), token_endpoint_auth_method="client_secret_basic")
SIGNING = a_client(jwks='{"keys":[]}', token_endpoint_auth_method="private_key_jwt")
EITHER = a_client(jwks='{"keys":[]}')


def basic(text: str | bytes, scheme: str = "Basic") -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return f"{scheme} {base64.b64encode(raw).decode()}"


def parsed(
    authorization: str | None, client_id: str | None = None, secret: str | None = None
) -> tuple[str, str | None]:
    credentials = parse_client_credentials(authorization, client_id, secret)
    return credentials.client_id, credentials.client_secret


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_a_basic_header_is_decoded_whatever_the_case_of_its_scheme(scheme: str) -> None:
    assert parsed(basic("client:secret", scheme)) == ("client", "secret")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a+b:c%20d", ("a b", "c d")),
        ("https%3A%2F%2Fclient.example%2Fid:s", ("https://client.example/id", "s")),
        ("client:a:b", ("client", "a:b")),
        ("%C3%BC:%C3%A9", ("ü", "é")),
        ("client:", ("client", None)),
    ],
)
def test_both_halves_of_a_basic_header_are_form_encoded(text: str, expected: tuple[str, str | None]) -> None:
    assert parsed(basic(text)) == expected


@pytest.mark.parametrize("text", ["cl%ient:s", "client:%zz", "client:%", "client:%4", "%FF:s", b"\xff:s", ":s", ":"])
def test_a_basic_header_that_is_broken_inside_is_refused_also_beside_a_body(text: str | bytes) -> None:
    with pytest.raises(InvalidClient) as refusal:
        parsed(basic(text), "client", "secret")
    assert not refusal.value.audited


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://client.example/id:s", "malformed_credentials"),
        ("HTTPS://client.example/id:s", "malformed_credentials"),
        ("client:%zz", "malformed_credentials"),
        (":s", "client_not_found"),
        (":", "client_not_found"),
    ],
)
def test_a_url_that_was_not_encoded_is_told_from_a_client_that_is_not_named(text: str, reason: str) -> None:
    with pytest.raises(InvalidClient) as refusal:
        parsed(basic(text))
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    "authorization",
    ["Basic !!!", "Basic", "Basic ", "Basic YQ", basic("no colon"), "Bearer abc", "DPoP abc", "Basic é", ""],
)
def test_a_header_that_is_no_basic_header_is_ignored(authorization: str) -> None:
    assert parsed(authorization, "client", "secret") == ("client", "secret")


@pytest.mark.parametrize(
    ("client_id", "secret"), [("client", "secret"), ("client", None), (None, None), (None, "secret"), ("client", "")]
)
def test_header_and_body_may_agree(client_id: str | None, secret: str | None) -> None:
    assert parsed(basic("client:secret"), client_id, secret) == ("client", "secret")


@pytest.mark.parametrize(("client_id", "secret"), [("other", None), ("client", "other"), ("other", "secret")])
def test_header_and_body_may_not_differ(client_id: str, secret: str | None) -> None:
    with pytest.raises(InvalidClient):
        parsed(basic("client:secret"), client_id, secret)


def test_a_public_client_names_itself_in_the_body() -> None:
    assert parsed(None, "client", "") == ("client", None)


@pytest.mark.parametrize("client_id", [None, ""])
def test_a_request_that_names_no_client_is_refused(client_id: str | None) -> None:
    with pytest.raises(InvalidClient) as refusal:
        parsed(None, client_id, "secret")
    assert not refusal.value.audited


def an_authenticator(db: Database, secrets: ClientSecrets = SECRETS) -> ClientAuthenticator:
    assertions = ClientAssertions(db, ClientKeys(OutboundClient(), CimdConfig()), issuer="https://as.example")
    return ClientAuthenticator(db, secrets, assertions)


async def authenticated(
    db: Database, client: Client, *, secret: str | None, secrets: ClientSecrets = SECRETS, confidential: bool = False
) -> Client:
    if await find_client(db, client.id) is None:
        await db.write(lambda tx: insert_client(tx, client))
    credentials = ClientCredentials(client_id=client.id, client_secret=secret)
    return await an_authenticator(db, secrets).authenticate(credentials, require_confidential=confidential, now=NOW)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_the_right_secret_proves_a_client_whatever_method_it_registered(db: Database, method: str) -> None:
    client = a_client(secret_hash=CONFIDENTIAL.secret_hash, token_endpoint_auth_method=method)
    assert await authenticated(db, client, secret="s3cret", confidential=True) == client


async def test_a_client_that_may_choose_is_public_when_it_comes_without_proof(db: Database) -> None:
    came = await authenticated(db, EITHER, secret=None)
    assert (came, came.is_public, EITHER.is_public) == (EITHER, True, False)


async def test_a_public_client_needs_no_proof(db: Database) -> None:
    assert await authenticated(db, a_client(), secret=None) == a_client()


@pytest.mark.parametrize(
    ("client", "secret", "confidential", "reason", "audited"),
    [
        (CONFIDENTIAL, "wrong", False, "invalid_client_secret", True),
        (CONFIDENTIAL, None, False, "missing_client_secret", False),
        (a_client(), "s3cret", False, "public_client", False),
        (a_client(), None, True, "public_client", False),
        (a_client(), "s3cret", True, "public_client", False),
        (SIGNING, None, False, "missing_client_assertion", False),
        (SIGNING, None, True, "missing_client_assertion", False),
        (SIGNING, "s3cret", False, "missing_client_assertion", False),
        (EITHER, "s3cret", False, "public_client", False),
        (EITHER, None, True, "public_client", False),
    ],
)
async def test_a_client_that_does_not_prove_itself_is_refused(
    db: Database,
    client: Client,
    secret: str | None,
    confidential: bool,  # noqa: FBT001  a parameter of the test
    reason: str,
    audited: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    with pytest.raises(InvalidClient) as refusal:
        await authenticated(db, client, secret=secret, confidential=confidential)
    assert refusal.value.description == "client authentication failed"
    assert (refusal.value.reason, refusal.value.audited) == (reason, audited)


@pytest.mark.parametrize("secret", ["s3cret", None])
async def test_an_unknown_client_is_refused_in_the_same_words(db: Database, secret: str | None) -> None:
    with pytest.raises(InvalidClient) as refusal:
        await an_authenticator(db).authenticate(ClientCredentials(client_id="no", client_secret=secret), now=NOW)
    assert refusal.value.description == "client authentication failed"
    assert (refusal.value.reason, refusal.value.audited) == ("client_not_found", False)


@pytest.mark.parametrize("status", [ClientStatus.SUSPENDED, ClientStatus.REVOKED])
async def test_only_a_client_that_proved_itself_learns_that_it_may_not_act(db: Database, status: ClientStatus) -> None:
    client = a_client(secret_hash=CONFIDENTIAL.secret_hash, status=status)
    with pytest.raises(InvalidClient) as refusal:
        await authenticated(db, client, secret="wrong")
    assert refusal.value.reason == "invalid_client_secret"
    with pytest.raises(InvalidClient) as refusal:
        await authenticated(db, client, secret="s3cret")
    assert refusal.value.description == "client is suspended or revoked"
    assert (refusal.value.reason, refusal.value.audited) == ("client_not_active", True)


async def test_a_suspended_public_client_is_refused_without_a_trace(db: Database) -> None:
    with pytest.raises(InvalidClient) as refusal:
        await authenticated(db, a_client(status=ClientStatus.SUSPENDED), secret=None)
    assert (refusal.value.reason, refusal.value.audited) == ("client_not_active", False)


async def test_a_bcrypt_hash_is_replaced_by_the_first_success(db: Database) -> None:
    stored = bcrypt.hashpw(b"s3cret", bcrypt.gensalt(4)).decode()
    client = a_client(secret_hash=stored)
    with pytest.raises(InvalidClient):
        await authenticated(db, client, secret="wrong")
    assert await find_client(db, client.id) == client

    await authenticated(db, client, secret="s3cret")
    found = await find_client(db, client.id)
    assert found is not None
    assert found.secret_hash == SECRETS.hash("s3cret")
    await authenticated(db, client, secret="s3cret")


async def test_a_hash_that_cannot_be_replaced_now_still_proves_the_client(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = a_client(secret_hash=ClientSecrets(Secret("")).hash("s3cret"))
    await db.write(lambda tx: insert_client(tx, client))

    async def full(_transaction: object) -> None:
        raise StorageUnavailable("the queue is full")

    monkeypatch.setattr(db, "write", full)
    assert await authenticated(db, client, secret="s3cret") == client


async def test_fifty_wrong_bcrypt_secrets_do_not_hold_the_loop(db: Database) -> None:
    client = a_client(secret_hash=bcrypt.hashpw(b"s3cret", bcrypt.gensalt(6)).decode())
    await db.write(lambda tx: insert_client(tx, client))
    secrets = ClientSecrets(Secret(""))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    attempts = [authenticated(db, client, secret=f"wrong {number}", secrets=secrets) for number in range(50)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    other.cancel()
    assert [str(outcome) for outcome in outcomes] == ["client authentication failed"] * 50
    assert turns > 100
