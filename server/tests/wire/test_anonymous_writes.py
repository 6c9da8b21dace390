"""Whoever has proved nothing makes the server write nothing (threat X7), but for what must be kept and is limited."""

import secrets

import pytest

from authserver.authorization.decisions import LIFETIME
from server.tests.fakes.document_server import document_server
from server.tests.wire.harness import RESOURCE, Wire

pytestmark = pytest.mark.anyio

ROUNDS = 40


async def count_rows(wire: Wire) -> dict[str, int]:
    """Return the number of rows of every table."""
    listing = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if wire.core.db.dialect == "sqlite"
        else "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
    )
    tables = [row["name"] for row in await wire.core.db.fetch_all(listing)]
    assert len(tables) > 8
    counted = {}
    for table in tables:
        row = await wire.core.db.fetch_one(f"SELECT count(*) AS n FROM {table}")
        assert row is not None
        counted[table] = row["n"]
    return counted


async def ask_everything(wire: Wire, client_id: str, foreign: str) -> None:
    """Send what somebody sends who has no account, no secret and no code."""
    http, noise = wire.http, secrets.token_hex(8)
    await wire.authorize(client_id)
    await wire.authorize(client_id, scope=f"invented:{noise}")
    await wire.authorize(client_id, redirect_uri=f"https://{noise}.example/cb")
    await wire.authorize(client_id, resource=f"https://{noise}.example/mcp")
    await wire.authorize(client_id, prompt="none")
    await wire.authorize(noise)
    await wire.authorize(foreign)
    await http.get("/login", params={"redirect": f"/{noise}"})
    await http.get("/consent", params={"session_id": noise})
    await http.post("/consent", data={"session_id": noise, "csrf_token": noise, "action": "allow"})
    await http.post("/login", data={"email": f"{noise}@example.com", "password": noise, "csrf_token": noise})
    await http.post("/logout")
    for path in ("/", f"/{noise}", "/.well-known/jwks.json", f"/.well-known/oauth-protected-resource/{noise}"):
        await http.get(path)
    await http.get("/.well-known/oauth-authorization-server")
    for form in (
        {"grant_type": "authorization_code", "code": noise, "code_verifier": "v" * 43, "client_id": noise},
        {"grant_type": "refresh_token", "refresh_token": noise, "client_id": noise},
        {"grant_type": "authorization_code", "code": noise, "code_verifier": "v" * 43, "client_id": client_id},
        {"grant_type": "refresh_token", "refresh_token": noise, "client_id": client_id},
        {"grant_type": "client_credentials", "client_id": wire.runtime.client.id},
        {"grant_type": "refresh_token", "refresh_token": noise, "client_id": wire.runtime.client.id},
        {"grant_type": noise, "client_id": client_id},
    ):
        await wire.token(**form)
    for path in ("/oauth/introspect", "/oauth/revoke"):
        await http.post(path, data={"token": noise})
        await http.post(path, data={"token": noise, "client_id": noise, "client_secret": noise})
        await http.post(path, data={"token": noise}, auth=(noise, noise))
    await http.post("/oauth/revoke", data={"token": noise, "client_id": client_id})
    await http.post("/oauth/introspect", data={"token": noise, "client_id": client_id})
    await http.post("/oauth/register", json={"client_name": noise, "redirect_uris": ["http://elsewhere.example/"]})
    await http.post("/oauth/register", content=noise)


async def test_anonymous_traffic_grows_no_table(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    async with document_server() as documents:
        foreign = documents.url("/no-such-document")
        await ask_everything(wire, client_id, foreign)
        before = await count_rows(wire)
        for _ in range(ROUNDS):
            await ask_everything(wire, client_id, foreign)
        after = await count_rows(wire)

    grown = {table: (before[table], after[table]) for table in after if after[table] != before[table]}
    # Traces of refusals are kept on purpose, in a table that is bounded itself.
    assert {table: rows for table, rows in grown.items() if "trace" not in table} == {}


async def test_a_request_is_written_down_once_its_user_is_known_and_only_for_a_while(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    before = (await count_rows(wire))["authorizations"]
    await wire.authorize(client_id, resource=RESOURCE)
    assert (await count_rows(wire))["authorizations"] == before

    await wire.sign_in()
    await wire.authorize(client_id, resource=RESOURCE)

    row = await wire.core.db.fetch_one("SELECT count(*) AS n, max(expires_at) AS until FROM authorizations")
    assert row is not None
    assert (row["n"], row["until"]) == (before + 1, now + LIFETIME)


async def test_a_confidential_client_that_presents_an_unknown_code_is_in_the_trail(wire: Wire) -> None:
    form = {"grant_type": "authorization_code", "code": "unknown", "code_verifier": "v" * 43}
    secret = wire.runtime.client_secret or ""
    answer = await wire.http.post("/oauth/token", data=form, auth=(wire.runtime.client.id, secret))

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert ("token.issue_denied", "reason=invalid_grant") in await wire.audit()
