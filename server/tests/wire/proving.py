"""Clients with proofs of possession at the token endpoint, and what is remembered and counted of them."""

from typing import Any

import httpx2

from authserver.clients.administration import NewClient
from authserver.clients.registration import Registered
from authserver.protocol.grant_types import CLIENT_CREDENTIALS
from authserver.telemetry.metrics import REGISTRY
from server.tests.wire.harness import ISSUER, Answer, Wire

TOKEN_URL = f"{ISSUER}/oauth/token"


def refused(answer: Answer, error: str, status: int = 400) -> Answer:
    """Check a refusal."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers
    return answer


async def machine(wire: Wire, **members: Any) -> Registered:
    """Create a machine client."""
    new: dict[str, Any] = {"grant_types": (CLIENT_CREDENTIALS,), "auth_method": "client_secret_basic"}
    new |= {"name": "cron", "scope": "notes:read"} | members
    return await wire.core.clients.create(NewClient(**new), now=wire.clock.seconds)


async def ask(http: httpx2.AsyncClient, client: Registered, *proofs: str, **form: str) -> Answer:
    """Ask for a machine token."""
    return await http.post(
        "/oauth/token",
        data={"grant_type": CLIENT_CREDENTIALS, **form},
        auth=(client.client.id, client.client_secret or ""),
        headers=[("DPoP", proof) for proof in proofs],
    )


async def spent(wire: Wire) -> int:
    """Return the number of proofs that are remembered."""
    return len(await wire.core.db.fetch_all("SELECT jti FROM dpop_jtis"))


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"authplane_dpop_{name}_total", labels) or 0
