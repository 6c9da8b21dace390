"""How much each audit action matters, and which keys its detail may hold."""

from dataclasses import dataclass
from enum import StrEnum

from authserver.audit.events import Action


class Severity(StrEnum):
    """How much a row matters; derived from the action, never stored."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Entry:
    """An action of the catalogue.

    Attributes:
        keys: The keys of its detail, of which some rows have a part only.
    """

    severity: Severity
    keys: tuple[str, ...] = ()


_INFO, _NOTICE, _WARNING, _ALERT = Severity

CATALOGUE = {
    Action.TOKEN_ISSUED: Entry(_INFO, ("family",)),
    Action.TOKEN_REFRESHED: Entry(_INFO, ("family",)),
    Action.TOKEN_REFRESH_RETRIED: Entry(_NOTICE, ("family",)),
    Action.TOKEN_ISSUE_DENIED: Entry(_NOTICE, ("reason",)),
    Action.TOKEN_REFRESH_DENIED: Entry(_NOTICE, ("reason",)),
    Action.TOKEN_REVOKED: Entry(_INFO, ("family", "jti", "machine_jti")),
    Action.AUTH_CODE_REUSED: Entry(_ALERT, ("session", "verifier")),
    Action.FAMILY_REVOKED: Entry(_ALERT, ("family",)),
    Action.FAMILY_REVOCATION_FAILED: Entry(_ALERT, ("family", "path", "half")),
    Action.FAMILY_DENYLIST_FAILED: Entry(_ALERT, ("family", "path", "half")),
    Action.TOKEN_INTROSPECTED: Entry(_INFO, ("jti", "issuing_client")),
    Action.TOKEN_INTROSPECT_DENIED: Entry(_WARNING, ("reason", "jti")),
    Action.TOKEN_EXCHANGED: Entry(
        _INFO,
        (
            "jti",
            "issuance_id",
            "sub",
            "subject_client",
            "actor_client",
            "type",
            "resource",
            "provider",
            "scopes",
            "chain_kind",
            "via_link",
            "target_kind",
        ),
    ),
    Action.TOKEN_EXCHANGE_DENIED: Entry(
        _NOTICE,
        (
            "reason",
            "sub",
            "subject_client",
            "actor_client",
            "type",
            "resource",
            "scopes",
            "chain_kind",
            "via_link",
            "target_kind",
            "denied_reason",
        ),
    ),
    Action.CLIENT_CREDENTIALS_ISSUED: Entry(_INFO, ("jti", "scopes")),
    Action.CLIENT_CREDENTIALS_DENIED: Entry(_NOTICE, ("reason",)),
    Action.JWT_BEARER_ISSUED: Entry(_INFO, ("jti", "idp", "scopes")),
    Action.JWT_BEARER_DENIED: Entry(_NOTICE, ("reason",)),
    Action.UPSTREAM_TOKEN_ISSUED: Entry(_INFO, ("provider", "resource", "scopes")),
    Action.UPSTREAM_TOKEN_REFRESHED: Entry(_INFO),
    Action.USER_LOGIN: Entry(_INFO),
    Action.USER_LOGIN_FAILED: Entry(_NOTICE, ("reason",)),
    Action.AUTH_LOCKED_OUT: Entry(_WARNING, ("until",)),
    Action.AUTH_DENIED: Entry(_NOTICE),
    Action.USER_OIDC_LOGIN: Entry(_INFO),
    Action.USER_OIDC_LOGIN_FAILED: Entry(_NOTICE, ("reason", "provider_sub")),
    Action.USER_CREATED: Entry(_NOTICE, ("user",)),
    Action.USER_UPDATED: Entry(_NOTICE, ("user",)),
    Action.USER_PASSWORD_SET: Entry(_WARNING, ("user",)),
    Action.USER_DISABLED: Entry(_NOTICE, ("user",)),
    Action.USER_ENABLED: Entry(_NOTICE, ("user",)),
    Action.USER_DELETED: Entry(_WARNING, ("user", "force")),
    Action.USER_FORCE_LOGOUT: Entry(_WARNING, ("user", "revoked")),
    Action.CONSENT_GRANTED: Entry(_INFO, ("resource", "scopes")),
    Action.CONSENT_DENIED: Entry(_INFO, ("session",)),
    Action.CONSENT_GRANT_REVOKED_ADMIN: Entry(
        _WARNING,
        (
            "id",
            "user_id",
            "client_id",
            "resource_id",
            "revoked_issuances",
            "revoked_families",
            "cascade",
            "family_cascade",
        ),
    ),
    Action.BROKER_GRANT_CREATED: Entry(_INFO, ("provider", "grant_id", "version")),
    Action.BROKER_GRANT_CREATED_ADMIN: Entry(_WARNING, ("id", "user_id", "broker_provider_id", "version")),
    Action.BROKER_GRANT_REVOKED: Entry(_INFO, ("provider", "grant_id")),
    Action.BROKER_GRANT_REVOKED_ADMIN: Entry(_WARNING, ("id", "user_id", "broker_provider_id")),
    Action.CLIENT_REGISTERED: Entry(_NOTICE, ("source",)),
    Action.CLIENT_CREATED_ADMIN: Entry(_NOTICE, ("name",)),
    Action.CLIENT_UPDATED: Entry(_NOTICE, ("source",)),
    Action.CLIENT_SECRET_ROTATED: Entry(_WARNING),
    Action.CLIENT_SUSPENDED: Entry(_WARNING),
    Action.CLIENT_REACTIVATED: Entry(_NOTICE),
    Action.CLIENT_REVOKED: Entry(_WARNING),
    Action.CLIENT_DELETED: Entry(_WARNING, ("force",)),
    Action.RESOURCE_CREATED: Entry(_NOTICE, ("id", "slug")),
    Action.RESOURCE_PATCHED: Entry(_NOTICE, ("id", "slug", "fields")),
    Action.RESOURCE_DELETED: Entry(_WARNING, ("id", "slug", "cascaded_links")),
    Action.RESOURCE_ALLOWED_CLIENT_ADDED: Entry(_WARNING, ("slug", "client_id")),
    Action.RESOURCE_ALLOWED_CLIENT_REMOVED: Entry(_NOTICE, ("slug", "client_id")),
    Action.RESOURCE_RETURN_URL_ADDED: Entry(_WARNING, ("slug", "return_url")),
    Action.RESOURCE_RETURN_URL_REMOVED: Entry(_NOTICE, ("slug", "return_url")),
    Action.RESOURCE_RUNTIME_CLIENT_ADDED: Entry(_WARNING, ("slug", "client_id")),
    Action.RESOURCE_RUNTIME_CLIENT_REMOVED: Entry(_NOTICE, ("slug", "client_id")),
    Action.BROKER_PROVIDER_CREATED: Entry(_NOTICE, ("id", "slug")),
    Action.BROKER_PROVIDER_PATCHED: Entry(_WARNING, ("id", "slug", "fields")),
    Action.BROKER_PROVIDER_DELETED: Entry(_WARNING, ("id",)),
    Action.FRONTING_LINK_CREATED: Entry(_WARNING, ("source", "target", "scopes")),
    Action.FRONTING_LINK_PATCHED: Entry(_WARNING, ("source", "target", "scopes")),
    Action.FRONTING_LINK_DELETED: Entry(_NOTICE, ("source", "target", "reason")),
    Action.ISSUANCE_REVOKED_ADMIN: Entry(
        _NOTICE, ("id", "subject_user_id", "client_id", "resource_id", "revoked_descendants")
    ),
    Action.IDP_REGISTERED: Entry(_WARNING, ("id", "issuer")),
    Action.IDP_UPDATED: Entry(_WARNING, ("id", "issuer")),
    Action.IDP_DELETED: Entry(_WARNING, ("id", "issuer")),
    Action.IDP_KEYS_REFRESHED: Entry(_NOTICE, ("id", "issuer")),
    Action.XAA_POLICY_CREATED: Entry(_WARNING, ("id", "idp_id", "name")),
    Action.XAA_POLICY_UPDATED: Entry(_WARNING, ("id", "idp_id", "name")),
    Action.XAA_POLICY_DELETED: Entry(_WARNING, ("id", "idp_id", "name")),
    Action.XAA_SUBJECT_MAPPING_CREATED: Entry(_WARNING, ("id", "idp_id")),
    Action.XAA_SUBJECT_MAPPING_DELETED: Entry(_WARNING, ("id", "idp_id")),
    Action.DCR_MODE_UPDATED: Entry(_WARNING),
    Action.KEY_ROTATED: Entry(_WARNING, ("kid",)),
    Action.KEY_RETIRED: Entry(_WARNING, ("kid",)),
    Action.AUDIT_PURGED: Entry(_WARNING, ("before", "checkpoint")),
    Action.ADMIN_UI_LOGIN: Entry(_INFO),
    Action.ADMIN_AUTH_FAILED: Entry(_WARNING, ("reason", "operator")),
    Action.OPERATOR_CREATED: Entry(_WARNING, ("name", "role", "resources", "expires_at")),
    Action.OPERATOR_REVOKED: Entry(_WARNING, ("name",)),
}

RESERVED = frozenset({Action.AUTH_DENIED, Action.UPSTREAM_TOKEN_REFRESHED})
"""Names that are kept for what may come; nothing records them."""


def severity(action: Action, detail: str = "") -> Severity:
    """Return how much a row matters. Two actions depend on how it went, which their detail says."""
    if action is Action.CONSENT_GRANT_REVOKED_ADMIN and "failed" in detail:
        return Severity.ALERT
    if action is Action.DCR_MODE_UPDATED and detail.endswith(" to open"):
        return Severity.ALERT
    return CATALOGUE[action].severity
