"""Which client an identifier names at the authorization endpoint, where metadata documents come in (public API, 12).

The other endpoints look up the stored client (``store.find_client``): it is the one that this endpoint left there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.limits import RegistrationLimits
from authserver.clients.metadata_documents import MetadataDocument, MetadataDocuments
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.registration import RegistrationPolicy
from authserver.clients.shared_fetches import DocumentUnavailable, NoFetchSlot
from authserver.clients.store import find_client, insert_client, update_client, update_fetched_at
from authserver.protocol.client_id_urls import is_client_id_url
from authserver.protocol.client_metadata import ClientMetadata
from authserver.protocol.errors import OAuthError, SlowDown
from authserver.storage.database import Database, UniqueViolation, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import CLIENTS_REGISTERED
from authserver.telemetry.notes import note

LAST_COPY_TTL = 24 * 60 * 60

_FETCHED_AT_STEP = 60

_log = get_logger("cimd")

OnDocumentChanged = Callable[[Writer, str], Awaitable[None]]
"""Has users asked again for a client whose document changed its redirect URIs, keys or method (CM-13)."""


class ClientResolver:
    """Finds clients for the authorization endpoint, and makes or refreshes those that are a document's URL.

    Args:
        db: Where clients are.
        trail: Where what is made or changed is recorded.
        documents: None when ``cimd.enabled`` is false: stored clients stay as they are, new ones are not made.
        policy: Who may register, and with what.
        on_document_changed: Runs in the transaction that changes the client.
        limits: How often clients may come in: the buckets of dynamic registration, shared.
    """

    def __init__(
        self,
        db: Database,
        trail: AuditTrail,
        documents: MetadataDocuments | None,
        policy: RegistrationPolicy,
        on_document_changed: OnDocumentChanged,
        limits: RegistrationLimits,
    ) -> None:
        self._db = db
        self._trail = trail
        self._documents = documents
        self._policy = policy
        self._on_document_changed = on_document_changed
        self._limits = limits

    async def resolve(self, client_id: str, *, address: str, now: int) -> Client | None:
        """Return the client, whatever its status, or None: unknown, or its document cannot be believed.

        Why a document was not believed is only in the log.

        Args:
            client_id: As sent.
            address: The client address of the request.
            now: Seconds since the epoch.

        Raises:
            SlowDown: This address, or all together, bring in new clients too often, or as many documents are being
                fetched as may be.
        """
        client = await find_client(self._db, client_id)
        _note_stored(client_id, client)
        documents = self._documents
        if documents is None:
            note("metadata documents looked at", setting="cimd.enabled=false", cause="they are switched off")
            return client
        try:
            if client is None:
                if not is_client_id_url(client_id):
                    note("client_id looked at", found="no URL of a metadata document")
                    return None
                self._limits.check(address)
                return await self._create(documents, client_id, now=now)
            if client.registration_source is RegistrationSource.CIMD:
                return await self._refresh(documents, client, now=now)
        except SlowDown:
            raise
        except NoFetchSlot as exc:
            copy = _last_copy(client, now=now)
            if copy is None:
                raise SlowDown(
                    "too many client documents are being fetched", reason="document_fetches_busy", retry_after=2
                ) from exc
            return copy
        except (DocumentUnavailable, OAuthError) as exc:
            _log.debug("client metadata document not used", client_id=client_id, cause=str(exc))
            copy = _last_copy(client, now=now)
            note(
                "metadata document refused",
                client_id=client_id,
                cause=str(exc),
                found="no stored copy of it that is young enough" if copy is None else "the stored copy stands in",
            )
            return copy
        return client

    async def _create(self, documents: MetadataDocuments, client_id: str, *, now: int) -> Client | None:
        self._policy.check_open()
        document = await documents.get(client_id, now=now)
        self._policy.check_redirect_uris(document.metadata.redirect_uris)
        scope = self._policy.choose_ceiling(document.metadata.grant_types)
        client = _build(client_id, document, scope=scope, now=now)
        event = AuditEvent(Action.CLIENT_REGISTERED, client_id=client_id, detail=detail(source="cimd"))

        async def insert(tx: Writer) -> None:
            await insert_client(tx, client)
            await self._trail.append(tx, event, now=now)

        try:
            await self._db.write(insert)
        except UniqueViolation:
            # Another request, or another process, was a moment faster.
            return await find_client(self._db, client_id)
        CLIENTS_REGISTERED.inc("cimd")
        return client

    async def _refresh(self, documents: MetadataDocuments, client: Client, *, now: int) -> Client | None:
        """Take over what the document says now (public API, 12.6); never ceiling, status or agent flag."""
        document = await documents.get(client.id, held_grants=client.grant_types, now=now)
        self._policy.check_redirect_uris(document.metadata.redirect_uris)
        if document.fetched_at <= (client.cimd_fetched_at or 0):
            # What is stored is as new, or newer: another process read the document since.
            return client
        stated = _restate(client, document.metadata)
        if stated == client:
            return await self._note_fetched(client, document.fetched_at)
        event = AuditEvent(Action.CLIENT_UPDATED, client_id=client.id, detail=detail(source="cimd"))
        asks_again = _proof_and_redirects(stated) != _proof_and_redirects(client)

        async def update(tx: Writer) -> None:
            if not await update_client(tx, replace(stated, cimd_fetched_at=document.fetched_at, updated_at=now)):
                return
            if asks_again:
                await self._on_document_changed(tx, client.id)
            await self._trail.append(tx, event, now=now)

        await self._db.write(update)
        return await find_client(self._db, client.id)

    async def _note_fetched(self, client: Client, fetched_at: int) -> Client:
        """Prolong the time the stored copy is good for. Not at every request: a document may forbid being kept."""
        if fetched_at - (client.cimd_fetched_at or 0) < _FETCHED_AT_STEP:
            return client
        await self._db.write(lambda tx: update_fetched_at(tx, client.id, fetched_at=fetched_at))
        return replace(client, cimd_fetched_at=fetched_at)


def _note_stored(client_id: str, client: Client | None) -> None:
    if client is None:
        note("client looked up", client_id=client_id, found="not stored")
    else:
        note(
            "client looked up",
            client_id=client_id,
            found="stored",
            source=client.registration_source,
            status=client.status,
        )


def _last_copy(client: Client | None, *, now: int) -> Client | None:
    """Return the stored client while it is young enough to stand in for a document that cannot be read (CM-11)."""
    if client is None or now - (client.cimd_fetched_at or 0) > LAST_COPY_TTL:
        return None
    return client


def _restate(client: Client, metadata: ClientMetadata) -> Client:
    return replace(
        client,
        name=metadata.client_name,
        redirect_uris=metadata.redirect_uris,
        grant_types=metadata.grant_types,
        token_endpoint_auth_method=metadata.token_endpoint_auth_method,
        jwks=metadata.jwks,
        jwks_uri=metadata.jwks_uri,
        application_type=metadata.application_type,
        dpop_bound_access_tokens=metadata.dpop_bound_access_tokens,
    )


def _proof_and_redirects(client: Client) -> tuple[object, ...]:
    return frozenset(client.redirect_uris), client.token_endpoint_auth_method, client.jwks, client.jwks_uri


def _build(client_id: str, document: MetadataDocument, *, scope: str, now: int) -> Client:
    metadata = document.metadata
    return Client(
        id=client_id,
        secret_hash="",
        jwks=metadata.jwks,
        jwks_uri=metadata.jwks_uri,
        name=metadata.client_name,
        redirect_uris=metadata.redirect_uris,
        grant_types=metadata.grant_types,
        response_types=metadata.response_types,
        token_endpoint_auth_method=metadata.token_endpoint_auth_method,
        status=ClientStatus.ACTIVE,
        registration_source=RegistrationSource.CIMD,
        cimd_url=client_id,
        cimd_fetched_at=document.fetched_at,
        scope=scope,
        application_type=metadata.application_type,
        is_agent=False,
        agent_description="",
        dpop_bound_access_tokens=metadata.dpop_bound_access_tokens,
        version=1,
        issued_at=now,
        updated_at=now,
    )
