"""Where the audit trail goes beside the database: ``audit``."""

from dataclasses import dataclass, field
from typing import Annotated

from authserver.config.declaring import Key

_REFERENCE = r"(CONNECTOR_|AUTHPLANE_VAULT_)[A-Z][A-Z0-9_]*"
_REFERENCE_RULE = "begins with `CONNECTOR_` or `AUTHPLANE_VAULT_`"
_URL = r"https?://[^\s]+"
_PRIVATE = "Whether the receiver may have an address that is not of the public internet, and an `http` URL."


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditWebhookConfig:
    """A webhook that gets the audit trail."""

    url: Annotated[
        str,
        Key("AUTHPLANE_AUDIT_WEBHOOK_URL", "Where batches of audit events are posted; empty: nowhere.", pattern=_URL),
    ] = ""
    secret_ref: Annotated[
        str,
        Key(
            "AUTHPLANE_AUDIT_WEBHOOK_SECRET_REF",
            "Name of the variable that holds the secret of the signature; several separated by blanks sign together.",
            rule=_REFERENCE_RULE,
            required=True,
            pattern=_REFERENCE,
            when="audit.webhook.url",
        ),
    ] = ""
    allow_private_addresses: Annotated[bool, Key("AUTHPLANE_AUDIT_WEBHOOK_ALLOW_PRIVATE_ADDRESSES", _PRIVATE)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOtlpConfig:
    """An OpenTelemetry collector that gets the audit trail as log records."""

    url: Annotated[
        str,
        Key(
            "AUTHPLANE_AUDIT_OTLP_URL",
            "Where log records are posted as OTLP/HTTP in JSON, such as `https://collector:4318/v1/logs`; empty: nowhere.",
            pattern=_URL,
        ),
    ] = ""
    authorization_ref: Annotated[
        str,
        Key(
            "AUTHPLANE_AUDIT_OTLP_AUTHORIZATION_REF",
            "Name of the variable that holds the `Authorization` header; empty: none is sent.",
            rule=_REFERENCE_RULE,
            pattern=_REFERENCE,
        ),
    ] = ""
    allow_private_addresses: Annotated[bool, Key("AUTHPLANE_AUDIT_OTLP_ALLOW_PRIVATE_ADDRESSES", _PRIVATE)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Where the audit trail is delivered to."""

    webhook: AuditWebhookConfig = field(default_factory=AuditWebhookConfig)
    otlp: AuditOtlpConfig = field(default_factory=AuditOtlpConfig)

    @property
    def destinations(self) -> frozenset[str]:
        """The names of the destinations that are configured."""
        return frozenset(name for name, url in (("webhook", self.webhook.url), ("otlp", self.otlp.url)) if url)
