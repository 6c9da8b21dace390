"""Where a provider publishes its keys, as its own metadata says (OpenID Connect Discovery 1.0; XAA, section 4.1)."""

import orjson

from authserver.outbound.client import OutboundClient, OutboundError
from authserver.protocol.operator_errors import Invalid
from authserver.telemetry.spans import call_span
from authserver.xaa.provider_keys import FETCH_SECONDS

_MAX_BYTES = 256 * 1024
_OK = 200


async def discover_jwks_uri(http: OutboundClient, issuer: str) -> str:
    """Return the ``jwks_uri`` of a provider's metadata.

    Raises:
        Invalid: There is none to be had; the text says why, without anything the provider sent.
    """
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        with call_span("IdP.Discover") as fetching:
            response = await http.get(url, accept="application/json", max_bytes=_MAX_BYTES, timeout=FETCH_SECONDS)
            fetching.set("http.status_code", response.status)
    except OutboundError as exc:
        raise Invalid(f"jwks_uri cannot be discovered: the fetch of {url} failed ({exc.cause})") from exc
    if response.status != _OK:
        raise Invalid(f"jwks_uri cannot be discovered: {url} answered {response.status}")
    try:
        metadata = orjson.loads(response.body)
    except orjson.JSONDecodeError as exc:
        raise Invalid(f"jwks_uri cannot be discovered: {url} is not JSON") from exc
    jwks_uri = metadata.get("jwks_uri") if isinstance(metadata, dict) else None
    if not isinstance(jwks_uri, str) or not jwks_uri:
        raise Invalid(f"jwks_uri cannot be discovered: {url} has none")
    return jwks_uri
