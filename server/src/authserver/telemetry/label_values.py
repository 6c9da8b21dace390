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
