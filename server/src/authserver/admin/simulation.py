"""What would be answered to a request, and which step says no: the real checks, run for an operator, without a token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from authserver.authorization.consent_store import find_consent
from authserver.authorization.request import RequestChecker
from authserver.clients.records import Client
from authserver.clients.store import find_client
from authserver.protocol.errors import CLIENT_NOT_ACTIVE, AccessDenied, InvalidClient, OAuthError, UnauthorizedClient
from authserver.protocol.grant_types import AUTHORIZATION_CODE, CLIENT_CREDENTIALS, DEVICE_CODE
from authserver.protocol.operator_errors import Invalid
from authserver.storage.database import Database
from authserver.telemetry.decisions import Decision
from authserver.telemetry.notes import note
from authserver.telemetry.origin import current_origin, reset_origin, set_origin
from authserver.tokens.endpoint import check_registered
from authserver.tokens.grants.client_credentials import ClientCredentialsGrant
from authserver.tokens.grants.entry import Grant
from authserver.traces.explaining import explain
from authserver.traces.records import RefusalTrace
from authserver.users.store import find_user
from authserver.web.forms import Form, parse_form

_ENDPOINT = "simulation"
_CHALLENGE = "0" * 43
GRANT_TYPES = (AUTHORIZATION_CODE, DEVICE_CODE, CLIENT_CREDENTIALS)


class Outcome(StrEnum):
    """What would come of it."""

    ALLOWED = "allowed"
    USER_IS_ASKED = "user_is_asked"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Whether a client may, for a user, get scopes at a resource.

    Attributes:
        user_id: Empty: nobody is signed in, so what the user allowed before is not looked at.
        resource: As a client would send it; empty: none.
        scope: As a client would send it; None: none.
    """

    grant_type: str
    client_id: str
    user_id: str = ""
    resource: str = ""
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer.

    Attributes:
        steps: What was looked at, in order; in a refusal the last one says no.
        refusal: As ``authserver admin trace show`` has it; None when it is none.
    """

    outcome: Outcome
    scopes: Sequence[str]
    resource_id: str | None
    steps: Sequence[Mapping[str, Any]]
    refusal: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    outcome: Outcome
    scopes: tuple[str, ...]
    resource_id: str | None


class Simulator:
    """Asks the checks of the authorization and the token endpoint. Nothing is written, and nothing is issued."""

    def __init__(self, db: Database, checker: RequestChecker, grants: Mapping[str, Grant]) -> None:
        self._db = db
        self._checker = checker
        self._grants = grants

    async def simulate(self, question: Question, *, now: int) -> Verdict:
        """Answer a question.

        Raises:
            Invalid: It names no client, or a grant that cannot be simulated.
        """
        if not question.client_id:
            raise Invalid("client_id is required")
        if question.grant_type not in GRANT_TYPES:
            raise Invalid(f"grant_type must be one of {', '.join(GRANT_TYPES)}")
        origin = current_origin()
        decision = Decision(_ENDPOINT, origin.request_id, lambda _refused: None)
        before = set_origin(origin._replace(decision=decision))
        try:
            found = await self._decide(question)
        except OAuthError as exc:
            return _refused(exc, decision, client_id=question.client_id, now=now)
        finally:
            reset_origin(before)
        return Verdict(
            outcome=found.outcome, scopes=found.scopes, resource_id=found.resource_id, steps=decision.clean_steps()
        )

    async def _decide(self, question: Question) -> _Found:
        client = await self._find_client(question.client_id)
        grant = self._grants.get(question.grant_type)
        if grant is None:
            note("grant looked up", grant_type=question.grant_type, found="switched off")
            raise UnauthorizedClient("the grant is switched off on this server", reason="grant_not_registered")
        form = _form(question)
        if isinstance(grant, ClientCredentialsGrant):
            return await self._decide_machine(grant, form, client)
        asked = (
            await self._checker.check(form, client=client, redirect_uri="")
            if question.grant_type == AUTHORIZATION_CODE
            else await self._checker.check_device(form, client=client)
        )
        if not question.user_id:
            return _Found(Outcome.USER_IS_ASKED, asked.scopes, asked.resource_id)
        await self._check_user(question.user_id)
        has_allowed = await self._has_allowed(question.user_id, client, asked.resource_id, asked.scopes)
        # A device asks its user each time.
        is_silent = has_allowed and question.grant_type == AUTHORIZATION_CODE
        return _Found(Outcome.ALLOWED if is_silent else Outcome.USER_IS_ASKED, asked.scopes, asked.resource_id)

    async def _decide_machine(self, grant: ClientCredentialsGrant, form: Form, client: Client) -> _Found:
        note("client's grants looked at", grant_type=CLIENT_CREDENTIALS, grant_types=client.grant_types)
        if client.is_public and not grant.allows_public_clients:
            note("client authentication looked at", authentication="none", expected="a confidential client")
            raise InvalidClient("a public client cannot use this grant", reason="public_client")
        check_registered(client, CLIENT_CREDENTIALS)
        resource, scopes = await grant.decide(form, client=client)
        return _Found(Outcome.ALLOWED, scopes, resource.id if resource else None)

    async def _find_client(self, client_id: str) -> Client:
        client = await find_client(self._db, client_id)
        if client is None:
            note("client looked up", client_id=client_id, found="none")
            raise InvalidClient("unknown client", reason="client_unknown")
        note("client looked up", client_id=client.id, source=client.registration_source, status=client.status)
        if not client.is_active:
            raise InvalidClient(CLIENT_NOT_ACTIVE, reason="client_not_active")
        return client

    async def _check_user(self, user_id: str) -> None:
        user = await find_user(self._db, user_id)
        note("user looked up", user_id=user_id, status="none" if user is None else user.status)
        if user is None or not user.is_active:
            raise AccessDenied("the user is disabled or unknown", reason="subject_inactive")

    async def _has_allowed(
        self, user_id: str, client: Client, resource_id: str | None, scopes: tuple[str, ...]
    ) -> bool:
        consent = (
            await find_consent(self._db, user_id=user_id, client_id=client.id, resource_id=resource_id)
            if resource_id is not None
            else None
        )
        # Of redirect URIs that were allowed before: the question names none.
        allowed = consent is not None and set(scopes) <= set(consent.scopes)
        note("earlier consent looked at", allowed=allowed, result=consent.scopes if consent else ())
        return allowed


def _form(question: Question) -> Form:
    sent = {"resource": question.resource, "scope": question.scope or ""}
    if question.grant_type == AUTHORIZATION_CODE:
        sent |= {"response_type": "code", "code_challenge": _CHALLENGE, "code_challenge_method": "S256"}
    return parse_form(urlencode({name: value for name, value in sent.items() if value}).encode())


def _refused(exc: OAuthError, decision: Decision, *, client_id: str, now: int) -> Verdict:
    steps = decision.clean_steps()
    told = explain(
        RefusalTrace(
            reference=exc.reference,
            error=exc.error,
            client_id=client_id,
            endpoint=_ENDPOINT,
            request_id=decision.request_id,
            status=exc.status,
            reason=exc.reason,
            description=exc.description,
            steps=tuple(steps),
            created_at=now,
        )
    )
    return Verdict(
        outcome=Outcome.REFUSED,
        scopes=(),
        resource_id=None,
        steps=steps,
        refusal={
            "error": told["error"],
            "status": told["status"],
            "reason": told["reason"],
            "description": told["description"],
            "meaning": told["meaning"],
            "fix": told["fix"],
        },
    )
