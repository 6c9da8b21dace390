import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from authserver.clients.assertions import ClientAssertions
from authserver.clients.authentication import ClientAuthenticator, ClientCredentials, parse_client_credentials
from authserver.clients.client_keys import ClientKeys
from authserver.clients.limits import ClientRates
from authserver.clients.records import Client, ClientStatus
from authserver.clients.secrets import ClientSecrets
from authserver.clients.store import insert_client
from authserver.config.secret import Secret
from authserver.config.sections.clients import CimdConfig
from authserver.config.sections.listeners import RateLimitConfig
from authserver.maintenance.purge import SPENT_SLACK, Target, purge
from authserver.outbound.client import OutboundClient
from authserver.protocol.client_assertions import InvalidAssertion
from authserver.protocol.errors import InvalidClient, SlowDown
from authserver.storage.database import Database, StorageUnavailable
from server.tests.clients.builders import NOW, a_client
from server.tests.conftest import open_target
from server.tests.fakes.signing_client import ASSERTION_TYPE, ED_KEY, SigningClient, public_jwk

pytestmark = pytest.mark.anyio

ISSUER = "https://as.example"
SIGNER = SigningClient(client_id="client-1", audience=ISSUER)
JWKS = orjson.dumps(SIGNER.jwks).decode()
SIGNING = a_client(jwks=JWKS, token_endpoint_auth_method="private_key_jwt")


def an_authenticator(db: Database, rates: ClientRates | None = None) -> ClientAuthenticator:
    assertions = ClientAssertions(db, ClientKeys(OutboundClient(), CimdConfig()), issuer=ISSUER)
    return ClientAuthenticator(db, ClientSecrets(Secret("")), assertions, rates)


async def authenticated(db: Database, assertion: str, client_id: str = "", *, now: int = NOW) -> Client:
    credentials = ClientCredentials(client_id=client_id, assertion=assertion)
    return await an_authenticator(db).authenticate(credentials, require_confidential=True, now=now)


async def refused(db: Database, assertion: str, client_id: str = "", *, now: int = NOW) -> InvalidClient:
    with pytest.raises(InvalidClient) as refusal:
        await authenticated(db, assertion, client_id, now=now)
    return refusal.value


async def stored(db: Database, client: Client = SIGNING) -> None:
    await db.write(lambda tx: insert_client(tx, client))


async def spent(db: Database) -> list[tuple[str, int]]:
    rows = await db.fetch_all("SELECT issuer, expires_at FROM assertion_jtis ORDER BY expires_at")
    return [(row["issuer"], row["expires_at"]) for row in rows]


@pytest.mark.parametrize(
    ("issuer", "audience", "reason"),
    [
        ("https://as.example/tenant", "https://as.example/tenant/", "assertion_audience"),
        ("https://as.example/tenant", "https://as.example/", "assertion_audience"),
        ("https://as.example", "https://as.example//", "assertion_audience"),
        ("https://as.example", "https://as.example:443/", "assertion_audience"),
        ("https://as.example", "https://AS.example/", "assertion_audience"),
        ("https://as.example", "https://as.example/?", "assertion_audience"),
        ("https://as.example", "https://as.example/", None),
    ],
)
async def test_one_slash_may_stand_behind_an_issuer_without_a_path(
    db: Database, issuer: str, audience: str, reason: str | None
) -> None:
    assertions = ClientAssertions(db, ClientKeys(OutboundClient(), CimdConfig()), issuer=issuer)
    assertion = SIGNER.assertion(now=NOW, aud=audience)
    if reason is None:
        assert assertions.read(assertion, client_id="", now=NOW).client_id == "client-1"
        return
    with pytest.raises(InvalidAssertion) as refusal:
        assertions.read(assertion, client_id="", now=NOW)
    assert refusal.value.reason == reason


async def test_an_assertion_proves_the_client_once(db: Database) -> None:
    await stored(db)
    assertion = SIGNER.assertion(now=NOW, exp=NOW + 90)
    came = await authenticated(db, assertion)
    assert (came, came.is_public) == (SIGNING, False)
    assert await spent(db) == [("client:client-1", NOW + 150)]
    refusal = await refused(db, assertion)
    assert (refusal.reason, refusal.audited, refusal.client_id) == ("assertion_replayed", True, "client-1")
    assert refusal.description == "client authentication failed"


async def test_of_fifty_uses_at_once_over_two_connections_one_wins(db: Database, database_target: str) -> None:
    await stored(db)
    other = await open_target(database_target)
    assertion = SIGNER.assertion(now=NOW)
    uses = (authenticated((db, other)[number % 2], assertion) for number in range(50))
    outcomes = await asyncio.gather(*uses, return_exceptions=True)
    await other.close()
    reasons = Counter(outcome.reason if isinstance(outcome, InvalidClient) else "none" for outcome in outcomes)
    assert reasons == {"none": 1, "assertion_replayed": 49}


async def test_two_clients_may_choose_the_same_id(db: Database) -> None:
    other = SigningClient(client_id="client-2", audience=ISSUER)
    await stored(db)
    await stored(db, a_client(id="client-2", jwks=JWKS))
    for signer in (SIGNER, other):
        await authenticated(db, signer.assertion(now=NOW, jti="the same"))
        assert (await refused(db, signer.assertion(now=NOW, jti="the same"))).reason == "assertion_replayed"


async def test_an_id_may_be_used_again_when_nothing_of_its_first_use_can_be(db: Database) -> None:
    await stored(db)
    await authenticated(db, SIGNER.assertion(now=NOW, jti="an id"))
    for now in (NOW + 89, NOW + 120):
        assert (await refused(db, SIGNER.assertion(now=now, jti="an id"), now=now)).reason == "assertion_replayed"
    await authenticated(db, SIGNER.assertion(now=NOW + 121, jti="an id"), now=NOW + 121)
    assert await spent(db) == [("client:client-1", NOW + 241)]


async def test_the_longest_names_fit_and_odd_ones_too(db: Database) -> None:
    client_id = "https://client.example/" + "a" * 2025
    signer = SigningClient(client_id=client_id, audience=ISSUER)
    await stored(db, a_client(id=client_id, jwks=JWKS))
    for jti in ("\U0001f511" * 256, "a\x00b", "' OR 1=1 --"):
        await authenticated(db, signer.assertion(now=NOW, jti=jti))
        assert (await refused(db, signer.assertion(now=NOW, jti=jti))).reason == "assertion_replayed"


@pytest.mark.parametrize(
    ("claims", "client_id", "reason"),
    [
        ({"aud": "https://other.example"}, "", "assertion_audience"),
        ({"exp": NOW - 30}, "", "assertion_expired"),
        ({"iss": "nobody", "sub": "nobody"}, "", "client_not_found"),
        ({"iss": "a\x00b", "sub": "a\x00b"}, "", "client_not_found"),
        ({}, "client-2", "assertion_subject"),
    ],
)
async def test_what_does_not_hold_spends_nothing_and_leaves_no_trace(
    db: Database, claims: dict[str, Any], client_id: str, reason: str
) -> None:
    await stored(db)
    refusal = await refused(db, SIGNER.assertion(now=NOW, **claims), client_id)
    assert (refusal.reason, refusal.audited) == (reason, False)
    assert refusal.description == "client authentication failed"
    assert await spent(db) == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"jwks": orjson.dumps({"keys": [SigningClient(audience="", alg="ES256").jwk | {"kid": "b"}]}).decode()}, None),
        ({"jwks": orjson.dumps({"keys": [public_jwk(ED_KEY, kid="key-1")]}).decode()}, None),
        ({"jwks": "broken"}, "assertion_keys_unavailable"),
        ({"jwks_uri": "https://127.0.0.1:9/jwks"}, "assertion_keys_unavailable"),
        ({"secret_hash": "sha256$x"}, "assertion_unexpected"),
        ({}, "assertion_unexpected"),
    ],
)
async def test_what_nothing_of_the_client_verifies_spends_nothing(
    db: Database, keys: dict[str, Any], reason: str | None
) -> None:
    await stored(db, a_client(**keys))
    refusal = await refused(db, SIGNER.assertion(now=NOW))
    assert (refusal.reason, refusal.audited) == (reason or "assertion_key_unknown", False)
    assert await spent(db) == []


async def test_a_signature_of_another_key_spends_nothing(db: Database) -> None:
    await stored(db)
    header, claims, signature = SIGNER.assertion(now=NOW).split(".")
    altered = ("A" if signature[0] != "A" else "B") + signature[1:]
    refusal = await refused(db, f"{header}.{claims}.{altered}")
    assert (refusal.reason, refusal.audited) == ("assertion_signature", False)
    assert await spent(db) == []
    await authenticated(db, f"{header}.{claims}.{signature}")


@pytest.mark.parametrize("status", [ClientStatus.SUSPENDED, ClientStatus.REVOKED])
async def test_only_a_client_that_proved_itself_learns_that_it_may_not_act(db: Database, status: ClientStatus) -> None:
    await stored(db, a_client(jwks=JWKS, status=status))
    stranger = SigningClient(audience=ISSUER, alg="EdDSA", key=ED_KEY)
    assert (await refused(db, stranger.assertion(now=NOW))).reason == "assertion_key_unknown"
    refusal = await refused(db, SIGNER.assertion(now=NOW))
    assert (refusal.description, refusal.audited) == ("client is suspended or revoked", True)
    assert await spent(db) == []


async def test_a_replayed_assertion_takes_no_request_from_its_client(db: Database) -> None:
    await stored(db)
    config = RateLimitConfig(client_requests_per_second=1, client_burst=2)
    authenticator = an_authenticator(db, ClientRates(config, monotonic=lambda: 50.0))

    async def come(assertion: str) -> Client:
        return await authenticator.authenticate(ClientCredentials(client_id="", assertion=assertion), now=NOW)

    captured = SIGNER.assertion(now=NOW)
    await come(captured)
    for _ in range(5):
        with pytest.raises(InvalidClient) as replay:
            await come(captured)
        assert replay.value.reason == "assertion_replayed"
    await come(SIGNER.assertion(now=NOW))
    with pytest.raises(SlowDown) as refusal:
        await come(SIGNER.assertion(now=NOW))
    assert (refusal.value.reason, refusal.value.retry_after) == ("client_rate_limited", 1.0)


async def test_no_verdict_without_the_store(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await stored(db)

    async def away(_transaction: object) -> None:
        raise StorageUnavailable("away")

    assertion = SIGNER.assertion(now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr(db, "write", away)
        with pytest.raises(StorageUnavailable):
            await authenticated(db, assertion)
    await authenticated(db, assertion)


async def test_a_purge_forgets_what_can_no_longer_be_replayed(db: Database) -> None:
    await stored(db)
    await authenticated(db, SIGNER.assertion(now=NOW, exp=NOW + 60))
    for now, left in ((NOW + SPENT_SLACK + 120, 1), (NOW + SPENT_SLACK + 121, 0)):
        await purge(db, Target.ASSERTION_JTI, now=now)
        assert len(await spent(db)) == left


def assertion_parameters(**changes: str | None) -> dict[str, str | None]:
    return {"assertion_type": ASSERTION_TYPE, "assertion": "a.b.c"} | changes


def test_an_assertion_may_name_the_client_alone() -> None:
    credentials = parse_client_credentials(None, None, None, **assertion_parameters())
    assert (credentials.client_id, credentials.client_secret, credentials.assertion) == ("", None, "a.b.c")


@pytest.mark.parametrize("authorization", ["Basic !!!", "Bearer abc", "Basic YQ", ""])
def test_a_header_that_is_no_basic_header_is_ignored_beside_an_assertion(authorization: str) -> None:
    assert parse_client_credentials(authorization, "c", None, **assertion_parameters()).assertion == "a.b.c"


@pytest.mark.parametrize(
    ("authorization", "secret", "changes", "reason"),
    [
        ("Basic YTpi", None, {}, "assertion_beside_secret"),
        ("Basic YTo=", None, {}, "assertion_beside_secret"),
        ("Basic YTpi", None, {"assertion": None}, "assertion_beside_secret"),
        (None, "s3cret", {}, "assertion_beside_secret"),
        (None, "s3cret", {"assertion_type": None}, "assertion_beside_secret"),
        (None, None, {"assertion_type": None}, "assertion_unsupported"),
        (None, None, {"assertion": None}, "assertion_unsupported"),
        (None, None, {"assertion_type": ASSERTION_TYPE.upper()}, "assertion_unsupported"),
        (None, None, {"assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}, None),
    ],
)
def test_an_assertion_stands_alone_and_is_of_the_known_type(
    authorization: str | None, secret: str | None, changes: dict[str, str | None], reason: str | None
) -> None:
    with pytest.raises(InvalidClient) as refusal:
        parse_client_credentials(authorization, "client-1", secret, **assertion_parameters(**changes))
    assert (refusal.value.reason, refusal.value.audited) == (reason or "assertion_unsupported", False)
