"""A grant that is switched off: refused before anything else about the request, with its key, and advertised nowhere."""

from dataclasses import replace

import pytest

from authserver.config.model import Config
from authserver.tokens.grants.table import ENABLING_VARIABLES, GRANTS
from server.tests.wire.exchanging import all_denials
from server.tests.wire.harness import REDIRECT, Wire

pytestmark = pytest.mark.anyio

SWITCHES = {name: entry.switch for name, entry in GRANTS.items() if entry.switch is not None}


@pytest.fixture(params=list(SWITCHES))
def switched_off(request: pytest.FixtureRequest) -> str:
    """The grant that is off."""
    return str(request.param)


@pytest.fixture
def config(config: Config, switched_off: str) -> Config:
    section, _, name = SWITCHES[switched_off].key.partition(".")
    return replace(config, **{section: replace(getattr(config, section), **{name: False})})


async def test_it_is_refused_with_its_key_and_leaves_neither_row_nor_count(wire: Wire, switched_off: str) -> None:
    switch, before = SWITCHES[switched_off], (await wire.audit(), all_denials())
    # Nobody proves anything, and everything that its own parameters could be is missing.
    answer = await wire.token(grant_type=switched_off, client_id="nobody")
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    sentence = f"feature {switch.feature} is disabled (set {switch.key}=true to enable)"
    assert answer.json()["error_description"].startswith(f"{sentence} (ref_")
    assert answer.headers["cache-control"] == "no-store"
    assert (await wire.audit(), all_denials()) == before


async def test_no_metadata_advertises_it_and_nobody_registers_for_it(wire: Wire, switched_off: str) -> None:
    for name in ("oauth-authorization-server", "openid-configuration"):
        metadata = (await wire.http.get(f"/.well-known/{name}")).json()
        assert switched_off not in metadata["grant_types_supported"]
        assert set(metadata["grant_types_supported"]) == set(GRANTS) - {switched_off}
        is_there = {
            "authorization_grant_profiles_supported": "jwt_bearer",
            "identity_assertion_supported": "jwt_bearer",
            "device_authorization_endpoint": "device_code",
        }
        for member, feature in is_there.items():
            assert (member in metadata) == (SWITCHES[switched_off].feature != feature), member
    document = {"client_name": "Tests", "redirect_uris": [REDIRECT], "grant_types": [switched_off]}
    refused = await wire.http.post("/oauth/register", json=document)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    assert ENABLING_VARIABLES[switched_off] in refused.json()["error_description"]
