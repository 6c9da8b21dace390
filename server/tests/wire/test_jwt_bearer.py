"""The JWT bearer grant with identity assertions: XAA §5 step by step (threats T10, T19; RFC 7523)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authserver.outbound.client import OutboundClient
from server.tests.fakes.identity_provider import IdentityProvider, identity_provider
from server.tests.wire.harness import ISSUER, RESOURCE, Wire, claims_of
from server.tests.wire.xaa import Enterprise, found

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provided(tmp_path: Path) -> AsyncIterator[tuple[IdentityProvider, OutboundClient]]:
    async with identity_provider(tmp_path, ISSUER) as both:
        yield both


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
async def acme(wire: Wire, provided: tuple[IdentityProvider, OutboundClient]) -> Enterprise:
    return await found(wire, provided[0])


async def test_an_assertion_buys_a_token_without_anybody_being_asked(wire: Wire, acme: Enterprise) -> None:
    answer = await acme.issued(acme.assertion(scope="notes:read"), scope="notes:read")
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 3600, "notes:read")
    claims = claims_of(answer["access_token"])
    subject = f"{acme.idp.issuer}:alice@acme"
    assert (claims["sub"], claims["aud"], claims["act"]) == (subject, [RESOURCE], {"sub": acme.idp.issuer})
    assert (claims["client_id"], claims["scope"]) == (acme.client.id, "notes:read")
    detail = f"jti={claims['jti']} idp={acme.idp.issuer} scopes=notes:read"
    assert ("jwt_bearer.issued", detail) in await wire.audit()
    assert (await wire.introspect(answer["access_token"]))["active"]
    users = await wire.core.db.fetch_all("SELECT id FROM users")
    assert len(users) == 1
    assert await wire.core.db.fetch_all("SELECT id FROM consent_grants") == []
