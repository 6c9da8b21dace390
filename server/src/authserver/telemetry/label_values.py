"""The closed sets that metric labels take their values from."""

REVOCATIONS = frozenset({"family_revocation", "code_reuse", "explicit", "explicit_machine"})
AUTH_DENIALS = frozenset(
    {"user_not_found", "user_disabled", "user_not_local", "invalid_credentials", "unusable_stored_hash"}
)
DPOP_REJECTIONS = frozenset({"invalid_proof", "replay", "nonce_required", "nonce_mismatch", "unknown"})
# The empty string stands for "does not apply".
EXCHANGE_TYPES = frozenset({"impersonation", "delegation", "mint_dispatch", "broker_dispatch", ""})
EXCHANGE_KINDS = frozenset({"direct", "fronted", ""})
ENCRYPTORS = frozenset({"aes_master", "vault_transit_encrypt"})
ENCRYPTIONS = frozenset({"encrypt", "decrypt"})
ENCRYPTION_ERRORS = frozenset(
    {
        "key_derivation",
        "cipher_init",
        "gcm_init",
        "nonce_generation",
        "invalid_format",
        "unsupported_version",
        "auth_failed",
        "vault_request",
        "base64_decode",
    }
)
# Reasons of refusals that are there from the start. Others may join them: the words are those of the audit trail.
CLIENT_DENIALS = frozenset(
    {
        "client_not_found",
        "client_not_active",
        "invalid_client_secret",
        "missing_client_secret",
        "public_client",
        "grant_not_registered",
        "broker_resource",
        "resource_not_found",
        "client_without_scopes",
        "self_registered_machine",
        "scope_outside_ceiling",
        "invalid_dpop_proof",
    }
)
EXCHANGE_DENIALS = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "invalid_request",
        "invalid_subject_token",
        "invalid_issuer",
        "subject_token_revoked",
        "issuing_client_inactive",
        "subject_inactive",
        "invalid_actor_token",
        "actor_issuing_client_inactive",
        "actor_subject_inactive",
        "resource_not_found",
        "multiple_resources",
        "ambiguous_resource",
        "scope_not_in_catalog",
        "subject_scope_ceiling",
        "invalid_scope",
        "default_scope_empty",
        "fronting_scope_unmapped",
        "fronting_subject_scope_insufficient",
        "operator_gate_denied",
        "cross_client_not_authorized",
        "fronting_caller_not_authorized",
        "agent_attestation_unknown_actor",
        "agent_attestation_ambiguous_actor",
        "agent_attestation_actor_not_mint",
        "policy_denied",
        "consent_required",
        "scope_not_consented",
        "agent_attestation_required",
        "consent_revoked_during_mint",
        "subject_token_revoked_during_mint",
        "broker_actor_not_allowed",
        "fronting_link_missing",
        "chain_too_deep",
        "invalid_dpop_proof",
    }
)
OPERATIONS = frozenset({"create", "update", "delete", "list", "get", "add", "remove"})
HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Why a connection was ended without an answer.
CONNECTION_ENDS = frozenset(
    {"read_timeout", "write_timeout", "idle_timeout", "room", "surplus", "pipeline", "malformed"}
)
AUDIT_DESTINATIONS = frozenset({"webhook", "otlp"})
DELIVERY_FAILURES = frozenset(
    {"url", "scheme", "host", "address", "dns", "connect", "timeout", "protocol", "too_large", "encoding", "status"}
)
SIGNALS = frozenset({"traces", "metrics", "logs"})
