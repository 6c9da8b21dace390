from dataclasses import replace
from typing import Any

import orjson
import pytest

from authserver.clients.administration import ClientAdministration, ClientChanges, ClientTokens, NewClient
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import find_client, insert_client, update_client
from authserver.config.secret import Secret
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.storage.database import Database, Writer
from authserver.tokens.grants.table import ENABLING_VARIABLES
from server.tests.clients.builders import GRANTS, NOW, a_client, a_trail, audited, counted

pytestmark = pytest.mark.anyio

SECRETS = ClientSecrets(Secret(""))
LATER = NOW + 60


class Tokens:
    """The tokens of clients, as the packages above would keep them."""

    def __init__(self, *live: str) -> None:
        self.live = set(live)

    async def has_live(self, _tx: Writer, client_id: str, _now: int) -> bool:
        return client_id in self.live

    async def revoke_all(self, _tx: Writer, client_id: str, _now: int) -> None:
        self.live.discard(client_id)


def an_administration(db: Database, tokens: Tokens | None = None) -> ClientAdministration:
    tokens = tokens or Tokens()
    return ClientAdministration(
        db,
        a_trail(db),
        SECRETS,
        ServedMetadata(grant_types=GRANTS, enabling_variables=ENABLING_VARIABLES),
        ClientTokens(has_live=tokens.has_live, revoke_all=tokens.revoke_all),
    )


async def stored(db: Database, **changes: Any) -> Client:
    client = a_client(**changes)
    await db.write(lambda tx: insert_client(tx, client))
    return client


async def test_a_machine_client_is_created_with_its_secret(db: Database) -> None:
    before = counted("authserver_clients_registered_total", source="admin")
    created = await an_administration(db).create(
        NewClient(
            name="Night job",
            grant_types=("client_credentials",),
            auth_method="client_secret_basic",
            scope="read write",
            is_agent=True,
            agent_description="runs at night",
        ),
        now=NOW,
    )
    client = created.client
    assert created.client_secret is not None
    assert await SECRETS.is_right(created.client_secret, client.secret_hash)
    assert await find_client(db, client.id) == client
    assert (client.scope, client.registration_source) == ("read write", RegistrationSource.ADMIN)
    assert (client.is_agent, client.agent_description) == (True, "runs at night")
    assert await audited(db) == [("client.created_admin", "admin", client.id, 'name="Night job"')]
    assert counted("authserver_clients_registered_total", source="admin") - before == 1


async def test_without_a_method_a_client_is_public(db: Database) -> None:
    created = await an_administration(db).create(NewClient(name="App", redirect_uris=["app.example:/cb"]), now=NOW)
    assert created.client_secret is None
    assert created.client.is_public
    assert created.client.grant_types == ("authorization_code", "refresh_token")


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"name": ""}, "client_name is required"),
        ({"name": "x" * 256}, "client_name"),
        ({"redirect_uris": ()}, "redirect_uris is required"),
        ({"redirect_uris": ("http://a.example/",)}, "http://a.example/"),
        ({"grant_types": ("password",)}, "password"),
        ({"grant_types": ("urn:ietf:params:oauth:grant-type:jwt-bearer",)}, "AUTHPLANE_XAA_ENABLED"),
        ({"auth_method": "private_key_jwt"}, "private_key_jwt"),
        ({"auth_method": "client_secret_jwt"}, "client_secret_jwt"),
        ({"scope": 'a"b'}, "scope"),
        ({"agent_description": "x" * 256}, "agent_description"),
        ({"client_id": "mine"}, "client_id is not an http"),
        ({"client_id": ""}, "client_id is not an http"),
        ({"client_id": "https://app.example/../client"}, "client_id must have no dot segments"),
        ({"client_id": f"https://app.example/{'x' * 2048}"}, "client_id is not an http"),
    ],
)
async def test_what_may_not_be_registered_is_refused_with_its_reason(
    db: Database, members: dict[str, Any], part: str
) -> None:
    asked: dict[str, Any] = {"name": "App", "redirect_uris": ("https://app.example/cb",)}
    with pytest.raises(Invalid, match=part):
        await an_administration(db).create(NewClient(**(asked | members)), now=NOW)
    assert await audited(db) == []


async def test_only_what_is_given_changes(db: Database) -> None:
    client = await stored(db, scope="read", token_endpoint_auth_method="client_secret_basic", secret_hash="sha256$x")
    changed = await an_administration(db).update(client.id, ClientChanges(name="Renamed"), now=LATER)
    assert changed == replace(client, name="Renamed", version=2, updated_at=LATER)
    assert await find_client(db, client.id) == changed
    assert await audited(db) == [("client.updated", "admin", client.id, "")]


async def test_everything_that_may_change_changes(db: Database) -> None:
    client = await stored(db)
    changes = ClientChanges(
        redirect_uris=("https://b.example/cb",),
        grant_types=("authorization_code",),
        scope="",
    )
    changed = await an_administration(db).update(client.id, changes, now=LATER)
    assert changed.redirect_uris == ("https://b.example/cb",)
    assert changed.grant_types == ("authorization_code",)


async def test_a_change_checks_the_whole_client(db: Database) -> None:
    client = await stored(db, grant_types=("urn:ietf:params:oauth:grant-type:token-exchange",))
    with pytest.raises(Invalid, match="AUTHPLANE_TOKEN_EXCHANGE_ENABLED"):
        await an_administration(db).update(client.id, ClientChanges(name="Renamed"), now=LATER)
    assert await find_client(db, client.id) == client


async def test_a_change_over_another_is_a_conflict(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await stored(db)
    administration = an_administration(db)
    write = db.write

    async def write_after_another(transaction: Any) -> Any:
        monkeypatch.setattr(db, "write", write)
        await write(lambda tx: update_client(tx, replace(client, name="Faster")))
        return await write(transaction)

    monkeypatch.setattr(db, "write", write_after_another)
    with pytest.raises(Conflict):
        await administration.update(client.id, ClientChanges(name="Slower"), now=LATER)
    assert await audited(db) == []


async def test_a_rotated_secret_is_the_only_one(db: Database) -> None:
    client = await stored(db, secret_hash=SECRETS.hash("old"))
    rotated = await an_administration(db).rotate_secret(client.id, now=LATER)
    found = await find_client(db, client.id)
    assert found == rotated.client
    assert rotated.client_secret is not None
    assert await SECRETS.is_right(rotated.client_secret, rotated.client.secret_hash)
    assert not await SECRETS.is_right("old", rotated.client.secret_hash)
    assert await audited(db) == [("client.secret_rotated", "admin", client.id, "")]


async def test_a_client_without_a_secret_has_none_to_rotate(db: Database) -> None:
    client = await stored(db)
    with pytest.raises(Invalid):
        await an_administration(db).rotate_secret(client.id, now=LATER)


ACTIVE, SUSPENDED, REVOKED = ClientStatus.ACTIVE, ClientStatus.SUSPENDED, ClientStatus.REVOKED


@pytest.mark.parametrize(
    ("act", "before", "after"),
    [
        ("suspend", ACTIVE, SUSPENDED),
        ("suspend", SUSPENDED, None),
        ("suspend", REVOKED, None),
        ("reactivate", SUSPENDED, ACTIVE),
        ("reactivate", ACTIVE, None),
        ("reactivate", REVOKED, None),
        ("revoke", ACTIVE, REVOKED),
        ("revoke", SUSPENDED, REVOKED),
        ("revoke", REVOKED, REVOKED),
    ],
)
async def test_the_status_moves_as_the_state_machine_allows(
    db: Database, act: str, before: ClientStatus, after: ClientStatus | None
) -> None:
    client = await stored(db, status=before)
    move = getattr(an_administration(db), act)
    if after is None:
        with pytest.raises(Conflict):
            await move(client.id, now=LATER)
    else:
        assert (await move(client.id, now=LATER)).status is after
    found = await find_client(db, client.id)
    assert found is not None
    assert found.status is (after or before)
    expected = [] if after in (None, before) else [{"suspend": "client.suspended", "revoke": "client.revoked"}.get(act)]
    assert [row[0] for row in await audited(db)] == [action or "client.reactivated" for action in expected]


@pytest.mark.parametrize("act", ["rotate_secret", "suspend", "reactivate", "revoke", "delete"])
async def test_an_unknown_client_is_not_found(db: Database, act: str) -> None:
    with pytest.raises(NotFound):
        await getattr(an_administration(db), act)("nobody", now=NOW)
    with pytest.raises(NotFound):
        await an_administration(db).update("nobody", ClientChanges(), now=NOW)
    assert await audited(db) == []


async def test_a_client_without_live_tokens_is_deleted(db: Database) -> None:
    client = await stored(db)
    await an_administration(db).delete(client.id, now=NOW)
    assert await find_client(db, client.id) is None
    assert await audited(db) == [("client.deleted", "admin", client.id, "force=false")]


async def test_a_client_with_live_tokens_is_deleted_by_force_only(db: Database) -> None:
    client = await stored(db)
    tokens = Tokens(client.id)
    with pytest.raises(Conflict):
        await an_administration(db, tokens).delete(client.id, now=NOW)
    assert await find_client(db, client.id) == client
    await an_administration(db, tokens).delete(client.id, force=True, now=NOW)
    assert await find_client(db, client.id) is None
    assert tokens.live == set()
    assert await audited(db) == [("client.deleted", "admin", client.id, "force=true")]


JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
JWKS_URI = "https://app.example/jwks"


async def test_a_client_may_change_its_keys_from_one_form_to_the_other(db: Database) -> None:
    administration = an_administration(db)
    new = NewClient(name="App", redirect_uris=("https://app.example/cb",), auth_method="private_key_jwt")
    created = await administration.create(replace(new, jwks_uri=JWKS_URI), now=NOW)
    assert created.client_secret is None
    client_id = created.client.id
    changed = await administration.update(client_id, ClientChanges(jwks={"keys": [JWK]}), now=LATER)
    assert (changed.jwks, changed.jwks_uri) == (orjson.dumps({"keys": [JWK]}).decode(), None)
    assert await find_client(db, client_id) == changed
    renamed = await administration.update(client_id, ClientChanges(name="Renamed"), now=LATER)
    assert (renamed.name, renamed.jwks, renamed.jwks_uri) == ("Renamed", changed.jwks, None)
    back = await administration.update(client_id, ClientChanges(jwks_uri=JWKS_URI), now=LATER)
    assert (back.jwks, back.jwks_uri) == (None, JWKS_URI)
    both = ClientChanges(jwks={"keys": [JWK]}, jwks_uri=JWKS_URI)
    for changes in (both, ClientChanges(jwks={}), ClientChanges(jwks=[]), ClientChanges(jwks_uri="http://a.example/")):
        with pytest.raises(Invalid, match="jwks"):
            await administration.update(client_id, changes, now=LATER)
    assert await find_client(db, client_id) == back


async def test_only_a_client_of_that_method_is_given_keys(db: Database) -> None:
    client = await stored(db)
    with pytest.raises(Invalid, match="for private_key_jwt only"):
        await an_administration(db).update(client.id, ClientChanges(jwks_uri=JWKS_URI), now=LATER)


async def test_a_client_of_a_document_with_many_redirect_uris_and_keys_keeps_them(db: Database) -> None:
    client = await stored(
        db,
        registration_source=RegistrationSource.CIMD,
        redirect_uris=tuple(f"https://client.example/{number}" for number in range(100)),
        jwks_uri=JWKS_URI,
    )
    changed = await an_administration(db).update(client.id, ClientChanges(scope="read"), now=LATER)
    assert changed == replace(client, scope="read", version=2, updated_at=LATER)
