"""Without the device grant: nothing of it is there (``device.enabled: false``)."""

from dataclasses import replace

import pytest

from authserver.config.model import Config
from authserver.protocol.grant_types import DEVICE_CODE
from server.tests.wire.harness import REDIRECT, Wire

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, device=replace(config.device, enabled=False))


async def test_nothing_of_the_grant_is_there_when_it_is_switched_off(wire: Wire) -> None:
    metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
    assert "device_authorization_endpoint" not in metadata
    assert DEVICE_CODE not in metadata["grant_types_supported"]
    client_id = (await wire.register())["client_id"]
    assert (await wire.start_device(client_id)).status_code == 404
    assert (await wire.http.get("/device")).status_code == 404
    refused = await wire.poll(client_id, "x" * 43)
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")
    assert "feature device_code is disabled (set device.enabled=true to enable)" in refused.json()["error_description"]
    document = {"client_name": "Television", "redirect_uris": [REDIRECT], "grant_types": [DEVICE_CODE]}
    registration = await wire.http.post("/oauth/register", json=document)
    assert registration.status_code == 400
    assert "AUTHPLANE_DEVICE_ENABLED" in registration.json()["error_description"]
