"""What the tests of identity assertions do over and over."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from authserver.clients.administration import NewClient
from authserver.clients.records import Client
from authserver.protocol.grant_types import JWT_BEARER
from authserver.xaa.administration import IdpDraft
from authserver.xaa.records import TrustedIdp, XaaPolicy
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.wire.harness import RESOURCE, Answer, Wire

SCOPE = "notes:read notes:write"


@dataclass(kw_only=True)
class Enterprise:
    """A trusted provider, a client that its users use, and a policy that lets everything through."""

    wire: Wire
    provider: IdentityProvider
    idp: TrustedIdp
    client: Client
    secret: str = field(repr=False)
    policy: XaaPolicy

    @property
    def now(self) -> int:
        return int(self.wire.clock.seconds)

    def assertion(self, **changes: object) -> str:
        return self.provider.assertion(now=self.now, **changes)

    async def trade(self, assertion: str | None = None, *, proof: str | None = None, **form: Any) -> Answer:
        """Present an assertion; a fresh one that holds, unless another is given."""
        base = {
            "grant_type": JWT_BEARER,
            "assertion": self.assertion() if assertion is None else assertion,
            "client_id": self.client.id,
            "client_secret": self.secret,
            "resource": RESOURCE,
        }
        sent = {name: value for name, value in (base | form).items() if value is not None}
        headers = {} if proof is None else {"DPoP": proof}
        return await self.wire.http.post("/oauth/token", data=sent, headers=headers)

    async def refused(
        self, assertion: str | None = None, *, error: str, reason: str | None, status: int = 400, **form: Any
    ) -> Answer:
        """Present an assertion that is refused, with one audit row."""
        before = Counter(await self.wire.audit())
        answer = await self.trade(assertion, **form)
        assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
        assert answer.headers["cache-control"] == "no-store"
        rows = Counter(await self.wire.audit()) - before
        assert list(rows.elements()) == ([] if reason is None else [("jwt_bearer.denied", f"reason={reason}")])
        return answer

    async def issued(self, assertion: str | None = None, **form: Any) -> dict[str, Any]:
        """Present an assertion that buys a token; return the response."""
        answer = await self.trade(assertion, **form)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def reload(self) -> None:
        """Have the server obey what operators changed."""
        await self.wire.server.watcher.poll()


async def new_client(wire: Wire, **changes: Any) -> tuple[Client, str]:
    """Register a confidential client for the grant."""
    settings: dict[str, Any] = {
        "name": "Enterprise backend",
        "grant_types": (JWT_BEARER,),
        "redirect_uris": (),
        "auth_method": "client_secret_post",
        "scope": SCOPE,
    }
    registered = await wire.core.clients.create(NewClient(**(settings | changes)), now=wire.clock.seconds)
    return registered.client, registered.client_secret or ""


async def found(wire: Wire, provider: IdentityProvider) -> Enterprise:
    """Register a provider, a client and a policy."""
    now = wire.clock.seconds
    idp = await wire.core.idps.register(
        IdpDraft(name="Acme", issuer=provider.issuer, jwks_uri=provider.jwks_uri), now=now
    )
    policy = await wire.core.xaa_policies.create(name="acme", idp_id=idp.id, now=now)
    client, secret = await new_client(wire)
    provider.client_id = client.id
    return Enterprise(wire=wire, provider=provider, idp=idp, client=client, secret=secret, policy=policy)
