"""The authorization server's metadata (RFC 8414, OpenID Connect Discovery 1.0): what a call would not refuse."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from authserver.protocol.dpop import PROOF_ALGORITHMS
from authserver.protocol.grant_types import JWT_BEARER
from authserver.protocol.id_jag import GRANT_PROFILE
from authserver.protocol.jwk import CLIENT_ALGORITHMS

_CLIENT_METHODS = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
_MAX_BYTES = 128 * 1024
_CONFIDENTIAL_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this server does at the moment.

    Attributes:
        grant_types: Those that are on, in the order of the metadata.
        scopes: Of all Resources, in the order first seen.
        registration_is_open: Whether anybody may register a client.
        metadata_documents: Whether the URL of a metadata document is taken as a client identifier.
        binds_tokens: Whether proofs of possession are served.
        device_authorization: Whether devices without a browser may ask for a user.
    """

    grant_types: Sequence[str]
    scopes: Sequence[str]
    registration_is_open: bool
    metadata_documents: bool
    binds_tokens: bool
    device_authorization: bool


def build_server_metadata(issuer: str, capabilities: Capabilities) -> bytes:
    """Return the document (public API §16)."""
    members: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
    }
    if capabilities.device_authorization:
        members["device_authorization_endpoint"] = f"{issuer}/oauth/device_authorization"
    if capabilities.registration_is_open:
        members["registration_endpoint"] = f"{issuer}/oauth/register"
    members |= {
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "jwks_uri": f"{issuer}/.well-known/jwks.json",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(capabilities.grant_types),
        "token_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "introspection_endpoint_auth_methods_supported": _CONFIDENTIAL_METHODS,
        "revocation_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "token_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "introspection_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "revocation_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
        "code_challenge_methods_supported": ["S256"],
    }
    if capabilities.scopes:
        members["scopes_supported"] = list(capabilities.scopes)
    members["resource_indicators_supported"] = True
    if capabilities.metadata_documents:
        members["client_id_metadata_document_supported"] = True
    members["authorization_response_iss_parameter_supported"] = True
    if capabilities.binds_tokens:
        members["dpop_signing_alg_values_supported"] = PROOF_ALGORITHMS
    if JWT_BEARER in capabilities.grant_types:
        members["authorization_grant_profiles_supported"] = [GRANT_PROFILE]
        members["identity_assertion_supported"] = True
    members["authplane_agent_identity_supported"] = True
    body = orjson.dumps(members)
    if len(body) < _MAX_BYTES:
        return body
    # Clients ask a Resource's own document for its scopes; one that they cannot read helps nobody.
    del members["scopes_supported"]
    return orjson.dumps(members)
