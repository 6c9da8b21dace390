"""Dynamic registration (RFC 7591; public API, 11): clients that nobody vouches for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.agents import TOPIC
from authserver.clients.mode import DcrMode, RegistrationMode
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import insert_client
from authserver.protocol.client_metadata import SHARED_SECRET_METHODS, ClientMetadata, parse_registration
from authserver.protocol.errors import AccessDenied, InvalidRedirectUri
from authserver.protocol.grant_types import USER_GRANTS
from authserver.protocol.identifiers import new_public_id, new_secret
from authserver.protocol.quoting import quoted
from authserver.storage.changes import announce
from authserver.storage.database import Database, Writer
from authserver.telemetry.metrics import CLIENTS_REGISTERED
from authserver.telemetry.notes import note


class RegistrationPolicy:
    """What clients that register themselves, by a request or by a document, must put up with.

    Args:
        mode: Who may register.
        approved_redirects: ``dcr.approved_redirects``.
        default_scope: ``oauth.default_client_scope``.
    """

    def __init__(self, mode: RegistrationMode, *, approved_redirects: Sequence[str], default_scope: str) -> None:
        self._mode = mode
        self._approved = frozenset(approved_redirects)
        self._default_scope = " ".join(default_scope.split())

    def check_open(self) -> None:
        """Check that clients may register themselves at all.

        Raises:
            AccessDenied: Only operators may register clients.
        """
        note("registration mode looked at", setting=f"dcr.mode={self._mode.current}")
        if self._mode.current is DcrMode.ADMIN_ONLY:
            raise AccessDenied("registration is disabled", reason="registration_closed")

    def check_redirect_uris(self, redirect_uris: Sequence[str]) -> None:
        """Check that every URI is on the operators' list, where one is kept.

        Raises:
            InvalidRedirectUri: One is not, byte for byte.
        """
        if self._mode.current is not DcrMode.APPROVED_REDIRECTS:
            return
        for uri in redirect_uris:
            if uri not in self._approved:
                note("redirect URI compared", redirect_uri=uri, registered=self._approved)
                raise InvalidRedirectUri(f"redirect_uri not allowed: {quoted(uri)}", reason="redirect_uri_not_approved")

    def choose_ceiling(self, grant_types: Collection[str]) -> str:
        """Return the scope of a new client: the default one if all its grants have a user in the loop, else none."""
        return self._default_scope if USER_GRANTS.issuperset(grant_types) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A new client.

    Attributes:
        client_secret: Shown now and never again; None for a client without one.
    """

    client: Client
    client_secret: str | None


class Registration:
    """Registers clients that ask for it."""

    def __init__(
        self,
        db: Database,
        trail: AuditTrail,
        secrets: ClientSecrets,
        policy: RegistrationPolicy,
        served: ServedMetadata,
    ) -> None:
        self._db = db
        self._trail = trail
        self._secrets = secrets
        self._policy = policy
        self._served = served

    def check_open(self) -> None:
        """Check that clients may register at all, before anything is read.

        Raises:
            AccessDenied: They may not.
        """
        self._policy.check_open()

    async def register(self, document: object, *, now: int) -> Registered:
        """Store a client as its document asks.

        Args:
            document: The parsed JSON of the request.
            now: The time.

        Raises:
            AccessDenied: Clients may not register themselves.
            InvalidRequest: The document is no object, or a member has the wrong JSON type.
            InvalidRedirectUri: A redirect URI may not be registered, or not here.
            InvalidClientMetadata: Anything else; the description lists all problems.
        """
        self._policy.check_open()
        metadata = parse_registration(
            document,
            served_grants=self._served.grant_types,
            served_auth_methods=self._served.auth_methods,
            enabling_variables=self._served.enabling_variables,
        )
        self._served.check(metadata)
        self._policy.check_redirect_uris(metadata.redirect_uris)
        registered = build_client(
            metadata,
            self._secrets,
            source=RegistrationSource.DCR,
            scope=self._policy.choose_ceiling(metadata.grant_types),
            now=now,
        )
        client = registered.client
        event = AuditEvent(Action.CLIENT_REGISTERED, client_id=client.id, detail=detail(source="dcr"))

        async def insert(tx: Writer) -> None:
            await insert_client(tx, client)
            if client.is_agent:
                await announce(tx, TOPIC)
            await self._trail.append(tx, event, now=now)

        await self._db.write(insert)
        CLIENTS_REGISTERED.inc("dcr")
        return registered


def build_client(
    metadata: ClientMetadata, secrets: ClientSecrets, *, source: RegistrationSource, scope: str, now: int
) -> Registered:
    """Return a client that has a new id and, for the shared-secret methods, a new secret."""
    client_secret = new_secret() if metadata.token_endpoint_auth_method in SHARED_SECRET_METHODS else None
    client = Client(
        id=new_public_id(),
        secret_hash=secrets.hash(client_secret) if client_secret else "",
        jwks=metadata.jwks,
        jwks_uri=metadata.jwks_uri,
        name=metadata.client_name,
        redirect_uris=metadata.redirect_uris,
        grant_types=metadata.grant_types,
        response_types=metadata.response_types,
        token_endpoint_auth_method=metadata.token_endpoint_auth_method,
        status=ClientStatus.ACTIVE,
        registration_source=source,
        cimd_url="",
        cimd_fetched_at=None,
        scope=scope,
        application_type=metadata.application_type,
        is_agent=metadata.agent,
        agent_description=metadata.agent_description,
        dpop_bound_access_tokens=metadata.dpop_bound_access_tokens,
        version=1,
        issued_at=now,
        updated_at=now,
    )
    return Registered(client=client, client_secret=client_secret)


def build_registration_response(registered: Registered) -> dict[str, object]:
    """Return the members of the answer, for orjson (public API, 11.3)."""
    client = registered.client
    members: dict[str, object] = {
        "client_id": client.id,
        "client_id_issued_at": client.issued_at,
        "redirect_uris": list(client.redirect_uris),
        "client_name": client.name,
        "grant_types": list(client.grant_types),
        "response_types": list(client.response_types),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "application_type": client.application_type or "web",
    }
    if registered.client_secret is not None:
        members |= {"client_secret": registered.client_secret, "client_secret_expires_at": 0}
    optional: dict[str, object] = {
        "scope": client.scope,
        "agent": client.is_agent,
        "agent_description": client.agent_description,
        "jwks": orjson.Fragment(client.jwks) if client.jwks else None,
        "jwks_uri": client.jwks_uri,
        "dpop_bound_access_tokens": client.dpop_bound_access_tokens,
    }
    return members | {name: value for name, value in optional.items() if value}
