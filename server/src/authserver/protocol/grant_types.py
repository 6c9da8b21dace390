"""The grant types clients may register for, and what switches each on."""

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105  the name of a grant, no secret
CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  the name of a grant, no secret
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

DEFAULT_GRANTS = (AUTHORIZATION_CODE, REFRESH_TOKEN)
"""What a client is registered for when it does not say."""

MACHINE_GRANTS = frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER})
"""Grants without a user in the loop; a client that holds one gets no default ceiling (public API, 9.4)."""

ENABLING_VARIABLES = {
    CLIENT_CREDENTIALS: "AUTHPLANE_CLIENT_CREDENTIALS_ENABLED",
    TOKEN_EXCHANGE: "AUTHPLANE_TOKEN_EXCHANGE_ENABLED",
    JWT_BEARER: "AUTHPLANE_XAA_ENABLED",
    DEVICE_CODE: "AUTHPLANE_DEVICE_ENABLED",
}
"""The environment variable that switches a grant on; grants that are not here are always on."""
