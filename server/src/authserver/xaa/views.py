"""How providers, policies and mappings are shown to operators, by the command line and the admin API alike."""

from typing import NotRequired

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.protocol.times import spell_time
from authserver.xaa.records import SubjectMapping, TrustedIdp, XaaPolicy


class IdpView(TypedDict):
    """A trusted provider."""

    id: str
    name: str
    issuer: str
    jwks_uri: str
    audience: str
    enabled: bool
    created_at: str
    updated_at: str


class PolicyView(TypedDict):
    """What assertions of a provider may buy."""

    id: str
    name: str
    idp_id: str
    client_ids: list[str]
    scopes: list[str]
    scopes_unrestricted: bool
    resources: list[str]
    enabled: bool
    created_at: str
    updated_at: str


class MappingView(TypedDict):
    """Who a provider's user is here."""

    id: str
    idp_id: str
    idp_subject: str
    local_user_id: NotRequired[str]
    created_at: str


def build_idp(idp: TrustedIdp) -> IdpView:
    """Return the object that stands for a provider in JSON."""
    return {
        "id": idp.id,
        "name": idp.name,
        "issuer": idp.issuer,
        "jwks_uri": idp.jwks_uri,
        "audience": idp.audience,
        "enabled": idp.enabled,
        "created_at": spell_time(idp.created_at),
        "updated_at": spell_time(idp.updated_at),
    }


def build_policy(policy: XaaPolicy) -> PolicyView:
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
        "created_at": spell_time(policy.created_at),
        "updated_at": spell_time(policy.updated_at),
    }


def build_mapping(mapping: SubjectMapping) -> MappingView:
    """Return the object that stands for a mapping in JSON."""
    view: MappingView = {
        "id": mapping.id,
        "idp_id": mapping.idp_id,
        "idp_subject": mapping.idp_subject,
        "created_at": spell_time(mapping.created_at),
    }
    if mapping.local_user_id is not None:
        view["local_user_id"] = mapping.local_user_id
    return view
