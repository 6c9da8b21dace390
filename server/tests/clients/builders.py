"""Clients for tests, ready but for what a test is about."""

from dataclasses import replace
from typing import Any

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.storage.database import Database
from authserver.telemetry.metrics import REGISTRY

NOW = 1_790_000_000
GRANTS = frozenset({"authorization_code", "refresh_token", "client_credentials"})


def a_client(**changes: Any) -> Client:
    client = Client(
        id="client-1",
        secret_hash="",
        jwks=None,
        jwks_uri=None,
        name="A client",
        redirect_uris=("https://client.example/callback",),
        grant_types=("authorization_code", "refresh_token"),
        response_types=("code",),
        token_endpoint_auth_method="none",
        status=ClientStatus.ACTIVE,
        registration_source=RegistrationSource.ADMIN,
        cimd_url="",
        cimd_fetched_at=None,
        scope="",
        application_type=None,
        is_agent=False,
        agent_description="",
        dpop_bound_access_tokens=False,
        version=1,
        issued_at=NOW,
        updated_at=NOW,
    )
    return replace(client, **changes)


def a_trail(db: Database) -> AuditTrail:
    return AuditTrail(db, lambda: NOW * 1000)


async def audited(db: Database) -> list[tuple[str, str, str, str]]:
    """Return action, actor, client and detail of every row, oldest first."""
    rows = await list_events(db, limit=1000)
    return sorted((row.action, row.actor_id, row.client_id, row.detail) for row in rows)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
