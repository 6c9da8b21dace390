"""How the record of a token is shown to operators, by the command line and the admin API alike."""

from typing import NotRequired

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time
from authserver.tokens.records import Issuance, IssuanceKind


class IssuanceView(TypedDict):
    """The record of a token that was handed out."""

    id: str
    jti: str
    subject_user_id: str
    client_id: str
    resource_id: str
    backend_kind: str
    scopes: list[str]
    agent_chain: list[str]
    revocable: bool
    issued_at: str
    expires_at: str
    revoked_at: NotRequired[str]
    dpop_jkt: NotRequired[str]
    agent_id: NotRequired[str]
    consent_client_id: NotRequired[str]
    parent_jti: NotRequired[str]


def build_issuance(issuance: Issuance) -> IssuanceView:
    """Return the object that stands for a token in JSON (admin API, section 11)."""
    is_vended = issuance.kind is IssuanceKind.BROKER
    spelled = spell_id(issuance.id)
    view = IssuanceView(
        id=spelled,
        jti="" if is_vended else spelled,
        subject_user_id=issuance.subject or issuance.client_id,
        client_id=issuance.client_id,
        resource_id=issuance.resource_id or "",
        backend_kind="broker" if is_vended else "mint",
        scopes=list(issuance.scopes),
        agent_chain=list(issuance.agent_chain),
        revocable=not is_vended,
        issued_at=spell_time(issuance.issued_at),
        expires_at=spell_time(issuance.expires_at),
    )
    if issuance.revoked_at is not None:
        view["revoked_at"] = spell_time(issuance.revoked_at)
    if issuance.dpop_jkt is not None:
        view["dpop_jkt"] = issuance.dpop_jkt
    if issuance.agent_id is not None:
        view["agent_id"] = issuance.agent_id
    if issuance.consent_client_id is not None:
        view["consent_client_id"] = issuance.consent_client_id
    if issuance.parent_jti is not None:
        view["parent_jti"] = spell_id(issuance.parent_jti)
    return view
