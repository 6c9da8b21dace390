"""What the reasons mean that tell a client what is wrong with its proof of possession (RFC 9449)."""

from collections.abc import Mapping
from types import MappingProxyType

from authserver.traces.records import Entry

_MALFORMED_FIX = (
    "Make proofs with a library: a header with `typ`, `alg` and `jwk`, and `jti`, `htm`, `htu`, `iat` signed."
)

PROOF_REASONS: Mapping[str, Entry] = MappingProxyType(
    {
        "dpop_repeated": Entry(
            "The request has more than one `DPoP` header value, or a proxy joined two to one.",
            "Send one proof; look for a library and an application that both add one.",
        ),
        "dpop_malformed": Entry(
            "The `DPoP` header is no compact JWS whose header and claims are JSON objects, names a member twice, or is longer"
            " than 8 KiB.",
            _MALFORMED_FIX,
        ),
        "dpop_algorithm": Entry(
            "The proof is signed with {requested}; served are ES256, RS256 and PS256.", "Sign it with one of these."
        ),
        "dpop_critical": Entry(
            "The proof's header has `crit`, and this server knows no extension.", "Leave the extension out."
        ),
        "dpop_type": Entry(
            "The proof's `typ` is {requested} instead of dpop+jwt.",
            "Set it. A client assertion or an access token is no proof.",
        ),
        "dpop_key": Entry(
            "The proof's `jwk` is no public key for its algorithm: missing, private, of another curve than P-256, an RSA key"
            " outside 2048 to 8192 bits, or one that states another `alg`.",
            "Carry the public half of the key that signs, and nothing of the private one.",
        ),
        "dpop_signature": Entry(
            "The proof was not signed with the key that it carries.",
            "Sign with the private half of `jwk`. An ES256 signature is r and s side by side, 64 bytes, not DER.",
        ),
        "dpop_jti": Entry(
            "The proof's `jti` is missing, empty or longer than 256 characters.",
            "Use 128 random bits, new for each proof.",
        ),
        "dpop_method": Entry(
            "The proof is for the method {requested}; the token endpoint is called by POST.",
            "Make a proof for each request; `htm` is its method.",
        ),
        "dpop_url": Entry(
            "The proof is for {requested}; the token endpoint is {expected}.",
            "Sign the `token_endpoint` of the metadata, whatever the request passes on its way. When that is not where"
            " clients reach this server, `server.issuer` is not right.",
        ),
        "dpop_time_missing": Entry(
            "The proof's `iat` is missing or no whole number, or its `exp` or `nbf` is no number.",
            "Use seconds since 1970, without fractions.",
        ),
        "dpop_time": Entry(
            "The proof was made {seconds} seconds ago, by the clock of who made it: too long, or too far to come.",
            "Set the clocks by NTP and make a proof for each request. `dpop.proof_lifetime` is the limit; it may be 300s.",
        ),
        "dpop_expired": Entry("The proof's own `exp` has passed.", "Make a new proof for each request."),
        "dpop_not_yet_valid": Entry(
            "The proof's own `nbf` is to come by more than 30 seconds.", "Set the clocks by NTP, or leave it out."
        ),
        "dpop_nonce_missing": Entry(
            "`dpop.require_nonce` is true, and the proof carries no nonce.",
            "Nothing is wrong with a first request: the answer has a nonce in `DPoP-Nonce`; repeat with a new proof that"
            " carries it. A browser reads the header if its origin is allowed by `server.allowed_origins`.",
        ),
        "dpop_nonce_unknown": Entry(
            "The proof's nonce is none of this server's, or older than `dpop.nonce_ttl`.",
            "Repeat with the nonce of this answer. When that is refused, too: all instances need the same `session.secret`.",
        ),
        "dpop_replayed": Entry(
            "A proof with this `jti` and key was used before.",
            "Make a new proof for each request, for one that is repeated, too. When no client repeats itself, somebody has"
            " seen a proof of it.",
        ),
        "dpop_proof_missing": Entry(
            "The client {client_id} is registered with dpop_bound_access_tokens, and its request has no proof that is"
            " looked at.",
            "Send a `DPoP` header, with `dpop.enabled: true` here; or register the client without the member.",
        ),
        "dpop_required_by_resource": Entry(
            "The resource {resource} takes tokens that are bound to a key alone, and the request of {client_id} has no proof.",
            "Send a `DPoP` header, with `dpop.enabled: true` here; or let it take others: `authserver admin resource update"
            " --policy-dpop-required …` with false.",
        ),
    }
)
