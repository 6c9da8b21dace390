from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from authserver.clients.mode import RegistrationMode
from authserver.clients.records import ClientStatus, RegistrationSource
from authserver.clients.registration import (
    Registered,
    Registration,
    RegistrationPolicy,
    build_registration_response,
)
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import find_client, list_clients
from authserver.config.secret import Secret
from authserver.protocol.errors import AccessDenied, InvalidClientMetadata, InvalidRedirectUri, InvalidRequest
from authserver.storage.database import Database
from authserver.tokens.grants.table import ENABLING_VARIABLES
from server.tests.clients.builders import GRANTS, NOW, a_trail, audited, counted

pytestmark = pytest.mark.anyio

MINIMAL: dict[str, Any] = {"client_name": "Tool", "redirect_uris": ["https://tool.example/cb"]}
SECRETS = ClientSecrets(Secret("a pepper of some length"))


def a_registration(
    db: Database, *, mode: str = "open", approved: Sequence[str] = (), default_scope: str = ""
) -> Registration:
    trail = a_trail(db)
    policy = RegistrationPolicy(
        RegistrationMode(db, trail, mode), approved_redirects=approved, default_scope=default_scope
    )
    return Registration(
        db, trail, SECRETS, policy, ServedMetadata(grant_types=GRANTS, enabling_variables=ENABLING_VARIABLES)
    )


def answered(registered: Registered) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(orjson.dumps(build_registration_response(registered)))
    return answer


async def test_the_least_a_client_says_makes_a_public_client(db: Database) -> None:
    before = counted("authserver_clients_registered_total", source="dcr")
    registered = await a_registration(db).register(MINIMAL, now=NOW)
    client = registered.client
    assert await find_client(db, client.id) == client
    assert (client.status, client.registration_source) == (ClientStatus.ACTIVE, RegistrationSource.DCR)
    assert client.is_public
    assert len(client.id) == 22
    assert answered(registered) == {
        "client_id": client.id,
        "client_id_issued_at": NOW,
        "client_name": "Tool",
        "redirect_uris": ["https://tool.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
    }
    assert await audited(db) == [("client.registered", "", client.id, "source=dcr")]
    assert counted("authserver_clients_registered_total", source="dcr") - before == 1


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_client_with_a_shared_secret_is_shown_it_once(db: Database, method: str) -> None:
    registered = await a_registration(db).register(MINIMAL | {"token_endpoint_auth_method": method}, now=NOW)
    answer = answered(registered)
    assert len(answer["client_secret"]) == 43
    assert answer["client_secret_expires_at"] == 0
    stored = await find_client(db, registered.client.id)
    assert stored is not None
    assert stored.secret_hash.startswith("hs256$")
    assert await SECRETS.is_right(answer["client_secret"], stored.secret_hash)


async def test_what_a_client_says_is_answered_as_registered(db: Database) -> None:
    document = MINIMAL | {
        "grant_types": ["authorization_code"],
        "application_type": "native",
        "agent": True,
        "agent_description": "does things",
        "scope": "everything",
        "software_id": "ignored",
    }
    answer = answered(await a_registration(db).register(document, now=NOW))
    for name in ("grant_types", "application_type", "agent", "agent_description"):
        assert answer[name] == document[name]
    assert not {"scope", "software_id", "registration_access_token", "jwks"} & answer.keys()


@pytest.mark.parametrize(
    ("grants", "scope"), [(["authorization_code"], "read write"), (["authorization_code", "client_credentials"], "")]
)
async def test_the_default_scope_is_for_clients_whose_grants_all_have_a_user(
    db: Database, grants: list[str], scope: str
) -> None:
    registration = a_registration(db, default_scope="read write")
    registered = await registration.register(MINIMAL | {"grant_types": grants, "scope": "x"}, now=NOW)
    assert registered.client.scope == scope
    assert answered(registered).get("scope", "") == scope


@pytest.mark.parametrize("document", [[], None, "text", {"client_name": 1}, MINIMAL | {"redirect_uris": "https://a/"}])
async def test_what_is_no_registration_is_an_invalid_request(db: Database, document: object) -> None:
    with pytest.raises(InvalidRequest):
        await a_registration(db).register(document, now=NOW)


@pytest.mark.parametrize(
    "members",
    [
        {"client_name": " "},
        {"client_name": "x" * 256},
        {"redirect_uris": []},
        {"redirect_uris": [f"https://tool.example/{number}" for number in range(11)]},
        {"grant_types": ["implicit"]},
        {"response_types": ["token"]},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"application_type": "mobile"},
        {"agent_description": "x" * 256},
    ],
)
async def test_what_may_not_be_registered_is_refused_and_not_stored(db: Database, members: dict[str, Any]) -> None:
    with pytest.raises(InvalidClientMetadata):
        await a_registration(db).register(MINIMAL | members, now=NOW)
    assert await list_clients(db, limit=1) == []
    assert await audited(db) == []


async def test_all_problems_are_named_together(db: Database) -> None:
    grant = "urn:ietf:params:oauth:grant-type:token-exchange"
    document = MINIMAL | {"client_name": "", "response_types": ["token"], "grant_types": [grant]}
    with pytest.raises(InvalidClientMetadata) as refusal:
        await a_registration(db).register(document, now=NOW)
    assert refusal.value.description.startswith("client validation failed: ")
    for part in ("client_name", "response_types", "AUTHPLANE_TOKEN_EXCHANGE_ENABLED"):
        assert part in refusal.value.description


async def test_a_redirect_uri_that_may_not_be_registered_is_named(db: Database) -> None:
    with pytest.raises(InvalidRedirectUri, match=r"'http://tool\.example/'"):
        await a_registration(db).register(MINIMAL | {"redirect_uris": ["http://tool.example/"]}, now=NOW)


async def test_only_approved_redirect_uris_register_where_a_list_is_kept(db: Database) -> None:
    registration = a_registration(db, mode="approved_redirects", approved=("https://tool.example/cb",))
    await registration.register(MINIMAL, now=NOW)
    for uri in ("https://tool.example/cb/", "https://tool.example:443/cb", "http://127.0.0.1/cb"):
        with pytest.raises(InvalidRedirectUri, match="redirect_uri not allowed"):
            await registration.register(MINIMAL | {"redirect_uris": [*MINIMAL["redirect_uris"], uri]}, now=NOW)


async def test_nobody_registers_while_only_operators_may(db: Database) -> None:
    with pytest.raises(AccessDenied, match="registration is disabled"):
        await a_registration(db, mode="admin_only").register({}, now=NOW)
    assert await list_clients(db, limit=1) == []


async def test_a_demand_that_this_server_would_not_meet_is_refused(db: Database) -> None:
    with pytest.raises(InvalidClientMetadata, match="dpop_bound_access_tokens"):
        await a_registration(db).register(MINIMAL | {"dpop_bound_access_tokens": True}, now=NOW)
