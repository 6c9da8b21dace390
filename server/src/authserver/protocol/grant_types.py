"""The names of grants that are spoken of beside the token endpoint; a grant's own module is the place for any other."""

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105  the name of a grant, no secret
CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  the name of a grant, no secret
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

DEFAULT_GRANTS = (AUTHORIZATION_CODE, REFRESH_TOKEN)
"""What a client is registered for when it does not say."""

USER_GRANTS = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE})
"""Grants with a user in the loop. A client that holds any other gets no default ceiling (public API, 9.4)."""
