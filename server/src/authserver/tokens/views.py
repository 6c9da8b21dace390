"""How the record of a token is shown to operators, by the command line and the admin API alike."""

from typing import Any

from authserver.protocol.identifiers import spell_id
from authserver.resources.views import build_time
from authserver.tokens.records import Issuance, IssuanceKind


def build_issuance(issuance: Issuance) -> dict[str, Any]:
    """Return the object that stands for a token in JSON (admin API, section 11)."""
    is_vended = issuance.kind is IssuanceKind.BROKER
    spelled = spell_id(issuance.id)
    optional = {
        "revoked_at": None if issuance.revoked_at is None else build_time(issuance.revoked_at),
        "dpop_jkt": issuance.dpop_jkt,
        "agent_id": issuance.agent_id,
        "consent_client_id": issuance.consent_client_id,
        "parent_jti": None if issuance.parent_jti is None else spell_id(issuance.parent_jti),
    }
    return {
        "id": spelled,
        "jti": "" if is_vended else spelled,
        "subject_user_id": issuance.subject or issuance.client_id,
        "client_id": issuance.client_id,
        "resource_id": issuance.resource_id or "",
        "backend_kind": "broker" if is_vended else "mint",
        "scopes": list(issuance.scopes),
        "revocable": not is_vended,
        "issued_at": build_time(issuance.issued_at),
        "expires_at": build_time(issuance.expires_at),
        "agent_chain": list(issuance.agent_chain),
        **{name: value for name, value in optional.items() if value is not None},
    }
