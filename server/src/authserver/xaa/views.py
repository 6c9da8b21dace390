"""How providers, policies and mappings are shown to operators, by the command line and the admin API alike."""

from typing import Any

from authserver.resources.views import build_time
from authserver.xaa.records import SubjectMapping, TrustedIdp, XaaPolicy


def build_idp(idp: TrustedIdp) -> dict[str, Any]:
    """Return the object that stands for a provider in JSON."""
    return {
        "id": idp.id,
        "name": idp.name,
        "issuer": idp.issuer,
        "jwks_uri": idp.jwks_uri,
        "audience": idp.audience,
        "enabled": idp.enabled,
        "created_at": build_time(idp.created_at),
        "updated_at": build_time(idp.updated_at),
    }


def build_policy(policy: XaaPolicy) -> dict[str, Any]:
    """Return the object that stands for a policy in JSON; ``scopes`` is empty both for no bound and for nothing at all."""
    return {
        "id": policy.id,
        "name": policy.name,
        "idp_id": policy.idp_id,
        "client_ids": list(policy.client_ids),
        "scopes": list(policy.scopes or ()),
        "scopes_unrestricted": policy.scopes is None,
        "resources": list(policy.resources),
        "enabled": policy.enabled,
        "created_at": build_time(policy.created_at),
        "updated_at": build_time(policy.updated_at),
    }


def build_mapping(mapping: SubjectMapping) -> dict[str, Any]:
    """Return the object that stands for a mapping in JSON."""
    members: dict[str, Any] = {"id": mapping.id, "idp_id": mapping.idp_id, "idp_subject": mapping.idp_subject}
    if mapping.local_user_id is not None:
        members["local_user_id"] = mapping.local_user_id
    return members | {"created_at": build_time(mapping.created_at)}
