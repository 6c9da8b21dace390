"""``POST /oauth/introspect`` and ``/oauth/revoke`` (public API §14, §15)."""

import base64
import json
from typing import Any

import pytest

from authserver.clients.administration import NewClient
from authserver.clients.store import delete_client
from authserver.users.store import delete_user
from server.tests.wire.harness import ISSUER, RESOURCE, Wire
from server.tests.wire.recording import record

pytestmark = pytest.mark.anyio


async def _session(wire: Wire) -> tuple[str, dict[str, Any]]:
    client_id = (await wire.register())["client_id"]
    return client_id, await wire.tokens(client_id)


async def _revoke(wire: Wire, client_id: str, token: str | None) -> int:
    data = {"client_id": client_id} | ({"token": token} if token else {})
    answer = await wire.http.post("/oauth/revoke", data=data)
    if answer.status_code == 200:
        assert answer.content == b""
        assert answer.headers["cache-control"] == "no-store"
    return answer.status_code


async def test_the_runtime_client_learns_what_the_token_says(wire: Wire, now: int) -> None:
    client_id, tokens = await _session(wire)
    answer = await wire.introspect(tokens["access_token"])
    assert len(answer.pop("jti")) == 22
    assert answer == {
        "active": True,
        "scope": "notes:read",
        "client_id": client_id,
        "sub": wire.user.id,
        "iss": ISSUER,
        "aud": RESOURCE,
        "exp": now + 900,
        "iat": now,
        "nbf": now,
        "auth_time": now,
        "amr": ["pwd"],
        "token_type": "Bearer",
    }
    assert "token.introspected" in dict(await wire.audit())


async def test_a_stranger_learns_nothing(wire: Wire, now: int) -> None:
    _, tokens = await _session(wire)
    stranger = await wire.core.clients.create(
        NewClient(name="x", redirect_uris=("https://x.example/cb",), auth_method="client_secret_post"),
        now=now,
    )
    form = {"client_id": stranger.client.id, "client_secret": stranger.client_secret, "token": tokens["access_token"]}
    answer = await wire.http.post("/oauth/introspect", data=form)
    assert (answer.status_code, answer.json()) == (200, {"active": False})
    assert answer.headers["cache-control"] == "no-store"
    denied = dict(await wire.audit())["token.introspect_denied"]
    assert denied.startswith("reason=caller_not_authorized_for_token jti=")


@pytest.mark.parametrize("case", ["refresh token", "garbage", "tampered", "expired", "empty signature"])
async def test_anything_that_is_no_access_token_in_force_is_inactive(wire: Wire, case: str) -> None:
    _, tokens = await _session(wire)
    token = tokens["access_token"]
    match case:
        case "refresh token":
            token = tokens["refresh_token"]
        case "garbage":
            token = "a.b.c"
        case "tampered":
            header, payload, signature = token.split(".")
            claims = base64.urlsafe_b64decode(payload + "==").replace(b"notes:read", b"notes:rite")
            token = f"{header}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{signature}"
        case "empty signature":
            token = token.rpartition(".")[0] + "."
        case _:
            wire.clock.seconds += 930
    assert await wire.introspect(token) == {"active": False}


async def test_a_token_that_says_the_same_in_other_bytes_is_none_of_ours(wire: Wire) -> None:
    _, tokens = await _session(wire)
    token = tokens["access_token"]
    header, claims, signature = token.split(".")
    spaced = base64.urlsafe_b64encode(base64.urlsafe_b64decode(claims + "==") + b" ").decode().rstrip("=")
    others = (
        f"{header}=.{claims}.{signature}",
        f"{header}.{spaced}.{signature}",
        f"{header}.{claims}.{signature}=",
        f"{header}.{claims}.{signature}.",
        f"{header}.{claims}\n.{signature}",
        f" {token}",
        f"{header}.W10.{signature}",
        f"W10.{claims}.{signature}",
        f"{header}.{claims}.é",
        f"{header}.{'W' * 20_000}.{signature}",
        ".".join(["W1"] * 3),
        "." * 5000,
    )
    for other in others:
        assert await wire.introspect(other) == {"active": False}, other
    assert (await wire.introspect(token))["active"] is True


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("client suspended", "issuing_client_inactive"),
        ("client deleted", "issuing_client_inactive"),
        ("user disabled", "subject_inactive"),
        ("user deleted", "subject_inactive"),
        ("family revoked", "token_revoked"),
        ("key gone", "invalid_token"),
    ],
)
async def test_a_token_ends_with_what_it_rests_on(wire: Wire, now: int, case: str, reason: str) -> None:
    client_id, tokens = await _session(wire)
    match case:
        case "client suspended":
            await wire.core.clients.suspend(client_id, now=now)
        case "client deleted":
            # By hand: the command line revokes its tokens, too.
            await wire.core.db.write(lambda tx: delete_client(tx, client_id))
        case "user disabled":
            await wire.core.accounts.disable_user(wire.user.id, now=now)
        case "user deleted":
            await wire.core.db.write(lambda tx: delete_user(tx, wire.user.id))
        case "family revoked":
            assert await _revoke(wire, client_id, tokens["refresh_token"]) == 200
        case _:
            wire.clock.seconds += 100
            await wire.keys.rotate(now=wire.clock.seconds)
            assert (await wire.introspect(tokens["access_token"]))["active"] is True
            await wire.core.db.write(lambda tx: tx.execute("UPDATE issuance_rows SET expires_at = expires_at + 100000"))
            wire.clock.seconds += 5000
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    denied = dict(await wire.audit())["token.introspect_denied"]
    assert denied.startswith(f"reason={reason}")


async def test_an_introspection_reads_the_caller_and_the_token_at_once_and_no_more(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokens = await _session(wire)
    recording = record(wire.core.db, monkeypatch)
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    assert len(recording.reads) == 1
    header, claims, signature = tokens["access_token"].split(".")
    unknown = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"jti": "A" * 22}
    altered = base64.urlsafe_b64encode(json.dumps(unknown).encode()).rstrip(b"=").decode()
    for token in (f"{header}.{altered}.{signature}", "no token"):
        assert await wire.introspect(token) == {"active": False}


async def test_nobody_learns_of_a_token_by_a_name_that_no_client_has(wire: Wire) -> None:
    _, tokens = await _session(wire)
    for name in ("nobody", "x" * 3000, "a\x00b"):
        answer = await wire.http.post("/oauth/introspect", data={"token": tokens["access_token"]}, auth=(name, "x"))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_callers_that_prove_nothing_are_refused_and_leave_no_row(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    before = len(await wire.audit())
    for form in ({}, {"client_id": client_id}, {"client_id": "nobody", "client_secret": "x"}):
        answer = await wire.http.post("/oauth/introspect", data={"token": tokens["access_token"], **form})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["www-authenticate"] == 'Basic realm="authserver"'
    assert len(await wire.audit()) == before
    wrong = await wire.http.post("/oauth/introspect", data={"token": "x"}, auth=(wire.runtime.client.id, "wrong"))
    assert wrong.status_code == 401
    assert dict(await wire.audit())["token.introspect_denied"] == "reason=invalid_client_secret"


async def test_a_missing_token_is_named(wire: Wire) -> None:
    auth = (wire.runtime.client.id, wire.runtime.client_secret or "")
    answer = await wire.http.post("/oauth/introspect", data={"a": "b"}, auth=auth)
    assert answer.json()["error_description"].startswith("token parameter is required")


async def test_introspection_is_for_servers_not_for_pages(wire: Wire) -> None:
    answer = await wire.http.post("/oauth/introspect", data={"token": "x"}, headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_revoking_a_refresh_token_ends_its_family(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    assert await _revoke(wire, client_id, tokens["refresh_token"]) == 200
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    refused = await wire.refresh(client_id, tokens["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"
    assert await _revoke(wire, client_id, tokens["refresh_token"]) == 200
    assert [detail[:7] for action, detail in await wire.audit() if action == "token.revoked"] == ["family="]


async def test_revoking_an_access_token_ends_that_token_alone(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    assert await _revoke(wire, client_id, tokens["access_token"]) == 200
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    assert dict(await wire.audit())["token.revoked"].startswith("jti=")


async def test_a_foreign_client_revokes_nothing_and_cannot_tell(wire: Wire) -> None:
    _, tokens = await _session(wire)
    stranger = (await wire.register())["client_id"]
    for token in (tokens["access_token"], tokens["refresh_token"], "garbage", "a.b.c"):
        assert await _revoke(wire, stranger, token) == 200
    assert (await wire.introspect(tokens["access_token"]))["active"] is True


async def test_revocation_needs_a_client_and_a_token(wire: Wire, now: int) -> None:
    client_id, tokens = await _session(wire)
    assert await _revoke(wire, "nobody", tokens["access_token"]) == 401
    assert await _revoke(wire, client_id, None) == 400
    await wire.core.clients.suspend(client_id, now=now)
    assert await _revoke(wire, client_id, tokens["access_token"]) == 401
