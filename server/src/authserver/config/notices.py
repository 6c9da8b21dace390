"""What is said at boot about a configuration that works but deserves a look."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from authserver.config.issuer import is_localhost_issuer
from authserver.config.model import Config

DEPRECATED = "deprecated config key in use"


@dataclass(frozen=True, slots=True)
class Notice:
    """One log line.

    Attributes:
        level: As the log spells it.
        message: Holds the fragment that existing log searches look for.
        fields: Never a secret.
    """

    level: Literal["info", "warning", "error"]
    message: str
    fields: dict[str, str] = field(default_factory=dict)


def config_notices(config: Config) -> Iterator[Notice]:
    """Yield what the configuration alone gives reason to say (configuration, section 8)."""
    server, oidc = config.server, config.oidc
    if not server.allowed_origins:
        yield Notice("info", "server.allowed_origins is empty: any origin may call token, registration and revocation")
    if server.issuer.startswith("http://") and not is_localhost_issuer(server.issuer):
        yield Notice("warning", "server.allow_insecure_issuer=true: tokens and passwords travel without TLS")
    if config.cimd.enabled and config.cimd.allow_private_addresses:
        yield Notice(
            "warning",
            "cimd.allow_private_addresses=true: metadata documents are fetched from internal addresses too,"
            " 169.254.169.254 of the cloud included",
        )
    if not config.oauth.require_scope:
        yield Notice(
            "warning", "oauth.require_scope=false: a request without scope asks for every scope of its resource"
        )
    if not config.session.fail_closed:
        yield Notice("warning", "session.fail_closed=false: a fault of the user store keeps sessions alive")
    if not config.session.secret:
        yield Notice("warning", "session.secret not configured: a random one is used, sessions end with the process")
    if not oidc.show_local_login and not (oidc.enabled and oidc.display_name):
        yield Notice("warning", "oidc.show_local_login=false with no IdP button: the login page offers no way in")


def registration_notices(config: Config, mode: str) -> Iterator[Notice]:
    """Yield what the registration mode in force, persisted override included, gives reason to say."""
    if mode == "open":
        yield Notice(
            "warning",
            "dynamic client registration is open to unauthenticated callers",
            {
                "config_key": "dcr.mode",
                "effective": mode,
                "alternatives": "approved_redirects, admin_only",
                "note": "metadata documents register clients under the same mode",
            },
        )
    if not config.oauth.default_client_scope and mode != "admin_only":
        yield Notice(
            "warning",
            "DEPRECATION: oauth.default_client_scope is empty: clients that register themselves have no scope ceiling",
            {"dcr_mode": mode, "cimd_enabled": str(config.cimd.enabled).lower()},
        )
