import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from authserver.clients.limits import RegistrationLimits
from authserver.clients.lookup import ClientResolver
from authserver.clients.metadata_documents import MetadataDocuments
from authserver.clients.mode import RegistrationMode
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.registration import RegistrationPolicy
from authserver.clients.served import ServedMetadata
from authserver.clients.store import find_client, insert_client, update_client
from authserver.config.sections.clients import CimdConfig, DcrConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.errors import SlowDown
from authserver.storage.database import Database, Writer
from server.tests.clients.builders import GRANTS, NOW, a_client, a_trail, audited, counted
from server.tests.fakes.document_server import Answer, DocumentServer, document_server

pytestmark = pytest.mark.anyio

ADDRESS = "192.0.2.1"
HOUR = 3600
DAY = 24 * HOUR
REGISTERED = "authserver_clients_registered_total"


@dataclass
class Bench:
    """A server of documents and a resolver that reads them."""

    db: Database
    server: DocumentServer
    resolver: ClientResolver
    changed: list[str] = field(default_factory=list)

    async def resolve(self, client_id: str, now: int = NOW) -> Client:
        client = await self.resolver.resolve(client_id, address=ADDRESS, now=now)
        assert client is not None
        return client

    async def stored(self, client_id: str) -> Client:
        client = await find_client(self.db, client_id)
        assert client is not None
        return client


def a_resolver(
    db: Database,
    changed: list[str],
    *,
    mode: str = "open",
    approved: Sequence[str] = (),
    default_scope: str = "",
    enabled: bool = True,
    rate_limit: float = 0,
) -> ClientResolver:
    async def on_document_changed(_tx: Writer, client_id: str) -> None:
        changed.append(client_id)

    config = CimdConfig(require_https=False, allow_private_addresses=True)
    documents = MetadataDocuments(OutboundClient(), config, ServedMetadata(grant_types=GRANTS)) if enabled else None
    trail = a_trail(db)
    policy = RegistrationPolicy(
        RegistrationMode(db, trail, mode), approved_redirects=approved, default_scope=default_scope
    )
    limits = RegistrationLimits(DcrConfig(rate_limit=rate_limit, rate_limit_burst=3), monotonic=lambda: 0.0)
    return ClientResolver(db, trail, documents, policy, on_document_changed, limits)


@asynccontextmanager
async def bench(db: Database, **options: Any) -> AsyncIterator[Bench]:
    changed: list[str] = []
    async with document_server() as server:
        yield Bench(db, server, a_resolver(db, changed, **options), changed)


async def test_a_document_makes_a_client_at_first_sight(db: Database) -> None:
    before = counted(REGISTERED, source="cimd")
    async with bench(db, default_scope="read  write") as cimd:
        url = cimd.server.document("/client", client_name="Tool")
        client = await cimd.resolve(url)
        assert await cimd.stored(url) == client
    assert client == a_client(
        id=url,
        name="Tool",
        redirect_uris=("http://127.0.0.1/callback",),
        registration_source=RegistrationSource.CIMD,
        cimd_url=url,
        cimd_fetched_at=NOW,
        scope="read write",
        application_type="native",
    )
    assert await audited(db) == [("client.registered", "", url, "source=cimd")]
    assert counted(REGISTERED, source="cimd") - before == 1


async def test_a_document_with_a_machine_grant_gets_no_default_scope(db: Database) -> None:
    async with bench(db, default_scope="read") as cimd:
        url = cimd.server.document("/client", grant_types=["authorization_code", "client_credentials"])
        assert (await cimd.resolve(url)).scope == ""


@pytest.mark.parametrize("client_id", ["", "nobody", "ftp://client.example/id", "https", "HTTPS//x", "\x00"])
async def test_an_unknown_identifier_that_is_no_url_is_no_client(db: Database, client_id: str) -> None:
    assert await a_resolver(db, []).resolve(client_id, address=ADDRESS, now=NOW) is None


async def test_a_stored_client_is_returned_whatever_its_status(db: Database) -> None:
    client = a_client(status=ClientStatus.SUSPENDED)
    await db.write(lambda tx: insert_client(tx, client))
    assert await a_resolver(db, []).resolve(client.id, address=ADDRESS, now=NOW) == client


async def test_a_document_that_cannot_be_read_makes_no_client_and_no_row(db: Database) -> None:
    async with bench(db) as cimd:
        for _ in range(3):
            assert await cimd.resolver.resolve(cimd.server.url("/missing"), address=ADDRESS, now=NOW) is None
        assert len(cimd.server.requests) == 1
    assert await audited(db) == []


async def test_nothing_is_fetched_while_documents_are_off(db: Database) -> None:
    async with bench(db, enabled=False) as cimd:
        assert await cimd.resolver.resolve(cimd.server.document("/client"), address=ADDRESS, now=NOW) is None
        assert cimd.server.requests == []


async def test_a_stored_client_of_a_document_stays_as_it_is_while_documents_are_off(db: Database) -> None:
    client = a_client(id="https://client.example/id", registration_source=RegistrationSource.CIMD)
    await db.write(lambda tx: insert_client(tx, client))
    assert await a_resolver(db, [], enabled=False).resolve(client.id, address=ADDRESS, now=NOW + 9 * DAY) == client


async def test_nothing_is_fetched_while_only_operators_register(db: Database) -> None:
    async with bench(db, mode="admin_only") as cimd:
        assert await cimd.resolver.resolve(cimd.server.document("/client"), address=ADDRESS, now=NOW) is None
        assert cimd.server.requests == []


@pytest.mark.parametrize(
    ("uris", "accepted"), [(["https://a.example/cb"], True), (["https://a.example/cb", "https://b.example/cb"], False)]
)
async def test_every_redirect_uri_must_be_approved_where_a_list_is_kept(
    db: Database,
    uris: list[str],
    accepted: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    async with bench(db, mode="approved_redirects", approved=("https://a.example/cb",)) as cimd:
        url = cimd.server.document("/client", redirect_uris=uris)
        assert (await cimd.resolver.resolve(url, address=ADDRESS, now=NOW) is not None) is accepted


async def test_a_url_that_an_operator_registered_is_an_ordinary_client(db: Database) -> None:
    async with bench(db) as cimd:
        client = a_client(id=cimd.server.document("/client"))
        await db.write(lambda tx: insert_client(tx, client))
        assert await cimd.resolve(client.id, NOW + DAY) == client
        assert cimd.server.requests == []


async def test_fifty_first_sights_at_once_fetch_once_and_make_one_client(db: Database) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        clients = await asyncio.gather(*(cimd.resolve(url) for _ in range(50)))
        assert len(cimd.server.requests) == 1
    assert len(set(clients)) == 1
    assert await audited(db) == [("client.registered", "", url, "source=cimd")]


async def test_a_document_is_not_looked_at_again_before_it_expires(db: Database) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        await cimd.resolve(url)
        cimd.server.document("/client", client_name="Renamed")
        assert (await cimd.resolve(url, NOW + HOUR - 1)).name == "A client"
        assert (await cimd.resolve(url, NOW + HOUR)).name == "Renamed"


@pytest.mark.parametrize(
    ("members", "asks_again"),
    [
        ({"client_name": "Renamed"}, False),
        ({"redirect_uris": ["http://127.0.0.1/other"]}, True),
        ({"redirect_uris": ["http://127.0.0.1/callback", "https://more.example/cb"]}, True),
    ],
)
async def test_a_changed_document_changes_the_client_and_asks_users_again_where_it_matters(
    db: Database,
    members: dict[str, object],
    asks_again: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        first = await cimd.resolve(url)
        cimd.server.document("/client", **members)
        now = NOW + HOUR
        client = await cimd.resolve(url, now)
        assert client == await cimd.stored(url)
        assert client == replace(
            first,
            name=str(members.get("client_name", first.name)),
            redirect_uris=tuple(members.get("redirect_uris", first.redirect_uris)),  # type: ignore[arg-type]  # from parameters
            application_type="native" if len(client.redirect_uris) == 1 else "web",
            cimd_fetched_at=now,
            updated_at=now,
            version=2,
        )
        assert cimd.changed == ([url] if asks_again else [])
    assert await audited(db) == [
        ("client.registered", "", url, "source=cimd"),
        ("client.updated", "", url, "source=cimd"),
    ]


KEYS: dict[str, Any] = {
    "token_endpoint_auth_method": "private_key_jwt",
    "jwks": {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
}
NAMED_KEYS = {"keys": [KEYS["jwks"]["keys"][0] | {"kid": "a"}]}
FETCHED_KEYS = {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/jwks"}
EITHER: dict[str, Any] = {"token_endpoint_auth_methods_supported": ["none", "private_key_jwt"]}


@pytest.mark.parametrize(
    ("before", "after", "asks_again"),
    [
        ({}, KEYS, True),
        (KEYS, {}, True),
        (KEYS, KEYS | {"jwks": NAMED_KEYS}, True),
        (KEYS, FETCHED_KEYS, True),
        (FETCHED_KEYS, FETCHED_KEYS | {"jwks_uri": "https://client.example/keys"}, True),
        (KEYS, KEYS | EITHER, True),
        ({}, EITHER, False),
        (KEYS, KEYS | {"client_name": "Renamed"}, False),
    ],
)
async def test_a_change_of_keys_or_method_asks_users_again(
    db: Database,
    before: dict[str, Any],
    after: dict[str, Any],
    asks_again: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client", **before)
        await cimd.resolve(url)
        cimd.server.document("/client", **after)
        client = await cimd.resolve(url, NOW + HOUR)
        assert client == await cimd.stored(url)
        assert (client.jwks is not None, client.jwks_uri) == ("jwks" in after, after.get("jwks_uri"))
        assert client.needs_no_proof is (after in ({}, EITHER, KEYS | EITHER))
        assert cimd.changed == ([url] if asks_again else [])


async def test_the_order_of_redirect_uris_asks_nobody_again(db: Database) -> None:
    uris = ["https://a.example/cb", "https://b.example/cb"]
    async with bench(db) as cimd:
        url = cimd.server.document("/client", redirect_uris=uris)
        await cimd.resolve(url)
        cimd.server.document("/client", redirect_uris=uris[::-1])
        assert list((await cimd.resolve(url, NOW + HOUR)).redirect_uris) == uris[::-1]
        assert cimd.changed == []


async def test_a_refresh_leaves_ceiling_status_and_agent_flag_to_the_operator(db: Database) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        client = replace(await cimd.resolve(url), scope="read", status=ClientStatus.SUSPENDED)
        assert await db.write(lambda tx: update_client(tx, client))
        cimd.server.document("/client", client_name="Renamed", scope="everything", status="active", agent=True)
        refreshed = await cimd.resolve(url, NOW + HOUR)
        assert (refreshed.name, refreshed.scope) == ("Renamed", "read")
        assert (refreshed.status, refreshed.is_agent) == (ClientStatus.SUSPENDED, False)


async def test_a_machine_grant_that_a_document_adds_later_is_ignored(db: Database) -> None:
    async with bench(db, default_scope="read") as cimd:
        url = cimd.server.document("/client")
        await cimd.resolve(url)
        cimd.server.document("/client", grant_types=["authorization_code", "client_credentials"])
        refreshed = await cimd.resolve(url, NOW + HOUR)
        assert (refreshed.grant_types, refreshed.scope) == (("authorization_code",), "read")


async def test_an_unchanged_document_is_noted_and_nothing_else(db: Database) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        first = await cimd.resolve(url)
        await cimd.resolve(url, NOW + HOUR)
        assert await cimd.stored(url) == replace(first, cimd_fetched_at=NOW + HOUR)
    assert len(await audited(db)) == 1


@pytest.mark.parametrize("failing", [Answer(status=500), Answer(body=b"{}"), Answer(status=302)])
async def test_the_last_good_copy_serves_for_a_day_and_no_longer(db: Database, failing: Answer) -> None:
    async with bench(db) as cimd:
        url = cimd.server.document("/client")
        first = await cimd.resolve(url)
        cimd.server.answers["/client"] = failing
        assert await cimd.resolve(url, NOW + DAY) == first
        assert await cimd.resolver.resolve(url, address=ADDRESS, now=NOW + DAY + 1) is None
        cimd.server.document("/client")
        assert (await cimd.resolve(url, NOW + DAY + 60)).cimd_fetched_at == NOW + DAY + 60


async def test_a_document_that_leaves_the_approved_list_is_not_taken_over_and_serves_a_day(db: Database) -> None:
    async with bench(db, mode="approved_redirects", approved=("http://127.0.0.1/callback",)) as cimd:
        url = cimd.server.document("/client")
        first = await cimd.resolve(url)
        cimd.server.document("/client", redirect_uris=["https://evil.example/cb"])
        assert await cimd.resolve(url, NOW + DAY) == first
        assert await cimd.resolver.resolve(url, address=ADDRESS, now=NOW + DAY + 1) is None


async def test_an_older_copy_in_another_process_never_brings_old_redirect_uris_back(db: Database) -> None:
    async with bench(db) as here:
        url = here.server.document("/client")
        there = a_resolver(db, [])
        await here.resolve(url)
        await there.resolve(url, address=ADDRESS, now=NOW + 10)
        here.server.document("/client", redirect_uris=["https://new.example/cb"])
        newer = await here.resolve(url, NOW + HOUR)
        assert await there.resolve(url, address=ADDRESS, now=NOW + HOUR + 1) == newer
        assert await here.stored(url) == newer


async def test_two_refreshes_at_once_make_one_change(db: Database) -> None:
    async with bench(db) as here:
        url = here.server.document("/client")
        await here.resolve(url)
        here.server.document("/client", redirect_uris=["https://new.example/cb"])
        there = a_resolver(db, here.changed)
        await asyncio.gather(here.resolve(url, NOW + HOUR), there.resolve(url, address=ADDRESS, now=NOW + HOUR))
        assert (await here.stored(url)).version == 2
        assert here.changed == [url]


async def test_an_address_brings_in_only_so_many_new_clients_and_leaves_no_row_for_the_rest(db: Database) -> None:
    async with bench(db, rate_limit=1) as cimd:
        urls = [cimd.server.document(f"/client{n}") for n in range(4)]
        for url in urls[:3]:
            assert await cimd.resolve(url)
        with pytest.raises(SlowDown):
            await cimd.resolve(urls[3])
        assert await cimd.resolve(urls[0])
        rows = await db.fetch_all("SELECT id FROM clients")
        assert len(rows) == 3
