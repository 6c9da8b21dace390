"""The wire shape of a token response: written, and read back for a retry, in this one place."""

from typing import Any

import orjson

from authserver.tokens.records import TokenResponse


def build_token_response(response: TokenResponse) -> bytes:
    """Return the JSON body (RFC 6749 §5.1). ``scope`` is stated whenever there is one, also when unchanged."""
    members: dict[str, Any] = {
        "access_token": response.access_token,
        "token_type": response.token_type,
        "expires_in": response.expires_in,
    }
    if response.issued_token_type is not None:
        members["issued_token_type"] = response.issued_token_type
    if response.refresh_token is not None:
        members["refresh_token"] = response.refresh_token
    if response.scope:
        members["scope"] = response.scope
    return orjson.dumps(members)


def parse_token_response(body: bytes) -> TokenResponse:
    """Read back a body that ``build_token_response`` wrote."""
    members = orjson.loads(body)
    return TokenResponse(
        access_token=members["access_token"],
        token_type=members["token_type"],
        expires_in=members["expires_in"],
        scope=members.get("scope", ""),
        refresh_token=members.get("refresh_token"),
        issued_token_type=members.get("issued_token_type"),
    )
