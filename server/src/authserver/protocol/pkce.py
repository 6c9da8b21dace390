"""Proof Key for Code Exchange (RFC 7636). S256 alone is served."""

import hashlib
import hmac
import re

from authserver.protocol.errors import InvalidGrant, InvalidRequest
from authserver.protocol.identifiers import base64url

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def s256_challenge(code_verifier: str) -> str:
    """Return BASE64URL(SHA-256(verifier)), 43 characters, unpadded (RFC 7636 §4.2).

    Args:
        code_verifier: ASCII.
    """
    return base64url(hashlib.sha256(code_verifier.encode("ascii")).digest())


def check_code_challenge(code_challenge: str | None, *, method: str | None) -> None:
    """Check what an authorization request sends (RFC 7636 §4.3, OAuth 2.1).

    Args:
        code_challenge: The parameter as sent.
        method: ``code_challenge_method`` as sent. Absent means ``plain``, which is not served.

    Raises:
        InvalidRequest: The challenge is absent, the method is another than ``S256``, or the challenge is not the
            43 base64url characters that S256 makes.
    """
    if code_challenge is None:
        raise InvalidRequest("code_challenge is required", reason="pkce_missing")
    if method is None:
        raise InvalidRequest("code_challenge_method is required and must be S256", reason="pkce_not_s256")
    if method != "S256":
        raise InvalidRequest("code_challenge_method must be S256", reason="pkce_not_s256")
    if not _CHALLENGE.fullmatch(code_challenge):
        raise InvalidRequest("code_challenge must be 43 base64url characters", reason="pkce_malformed")


def check_code_verifier(code_verifier: str | None, *, code_challenge: str) -> None:
    """Check that the token request comes from whoever started the authorization request.

    Args:
        code_verifier: The parameter as sent: 43 to 128 unreserved characters.
        code_challenge: The challenge stored with the authorization code.

    Raises:
        InvalidRequest: The verifier is absent.
        InvalidGrant: It is not the one the challenge was made from (RFC 7636 §4.6), as no malformed one can be.
    """
    if code_verifier is None:
        raise InvalidRequest("code_verifier is required", reason="parameter_missing")
    if not _VERIFIER.fullmatch(code_verifier) or not hmac.compare_digest(s256_challenge(code_verifier), code_challenge):
        raise InvalidGrant("PKCE verification failed", reason="pkce_mismatch")
