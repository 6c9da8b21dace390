"""A server that demands its own nonce in every proof: libraries get one at first contact, from whichever process."""

import jwt
import pytest

from e2e.harness.identity import Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.metadata_document import Authority
from e2e.harness.person import Person
from e2e.test_mcp_clients import WITH_A_KEY, McpClient
from e2e.test_oauth_libraries import program, sign_in

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server_environment(authority: Authority) -> dict[str, str]:
    """As everywhere, and every proof carries a nonce."""
    return {
        "AUTHPLANE_CIMD_ALLOW_PRIVATE_ADDRESSES": "true",
        "AUTHPLANE_DPOP_REQUIRE_NONCE": "true",
        "SSL_CERT_FILE": str(authority.bundle),
    }


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi"])
def test_code_and_refresh_token_survive_the_first_contact(
    library: str, installation: Installation, demo: Demo, person: Person
) -> None:
    with program(library, installation, demo, dpop="ES256") as client:
        tokens = sign_in(client, person)
        bound = jwt.decode(tokens["access_token"], options={"verify_signature": False})["cnf"]
        for _ in range(3):
            answer = client.do("refresh")
            assert "tokens" in answer, answer
            assert jwt.decode(answer["tokens"]["access_token"], options={"verify_signature": False})["cnf"] == bound


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi"])
def test_a_machine_binds_its_tokens(library: str, installation: Installation, demo: Demo) -> None:
    machine = installation.create_machine("notes:read", auth_method="client_secret_basic")
    options = {
        "scope": "notes:read",
        "clientId": machine.client_id,
        "clientSecret": machine.secret,
        "authMethod": machine.auth_method,
        "dpop": "ES256",
    }
    with program(library, installation, demo, **options) as client:
        assert "authorize" in client.do("start")
        answer = client.do("machine")
        assert "tokens" in answer, answer
        claims = jwt.decode(answer["tokens"]["access_token"], options={"verify_signature": False})
        assert claims["sub"] == machine.client_id
        assert len(claims["cnf"]["jkt"]) == 43


def test_an_mcp_client_survives_the_first_contact(demo: Demo, person: Person) -> None:
    with McpClient(WITH_A_KEY, demo, person, Identity()) as client:
        client.connect()
        assert set(client.do("list")["tools"]) == {"list_notes", "add_note"}
        for _ in range(2):
            assert client.do("refresh") == {"refreshed": True}
