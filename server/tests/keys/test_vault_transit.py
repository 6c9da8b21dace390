"""What is particular about keys in Vault, with a real server."""

import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from authserver.config.secret import Secret
from authserver.encryption.vault import AppRole, VaultError, open_vault
from authserver.keys.keyring import open_keyring
from authserver.keys.keystore import KeyStoreError
from authserver.keys.records import SIGNS_AFTER_SECONDS
from authserver.keys.vault_transit import VaultTransitStore
from authserver.protocol.errors import SigningUnavailable
from authserver.storage.database import Database
from server.tests.keys.laboratory import RETENTION, Laboratory, kid_of, laboratory, vault_transit

FULL_POLICY = """
path "transit/sign/{key}*" {{ capabilities = ["update"] }}
path "transit/keys/{key}*" {{ capabilities = ["create", "read", "update"] }}
"""
SIGNING_POLICY = """
path "transit/sign/{key}" {{ capabilities = ["update"] }}
path "transit/keys/{key}" {{ capabilities = ["read"] }}
"""

pytestmark = pytest.mark.anyio


def now() -> int:
    """Vault has a clock of its own, so these tests are on real time."""
    return int(time.time())


@pytest.fixture
def key_name() -> str:
    return f"signing-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=["sqlite", "postgres"])
async def lab(request: pytest.FixtureRequest, openbao: Any, key_name: str) -> AsyncIterator[Laboratory]:
    target = str(request.getfixturevalue(f"{request.param}_target"))
    async with laboratory("vault_transit", target, vault_transit(openbao.address, key_name)) as lab:
        yield lab


async def test_a_key_is_named_after_its_version(lab: Laboratory, key_name: str, openbao: Any) -> None:
    process = await lab.start(now())
    assert process.published(now()) == [f"{key_name}-v1"]
    assert await process.rotate(now()) == f"{key_name}-v2"
    assert openbao.call("GET", f"transit/keys/{key_name}")["data"]["latest_version"] == 2


async def test_a_version_that_others_made_is_published_within_a_minute_and_signs_after_it(
    lab: Laboratory, key_name: str, openbao: Any
) -> None:
    started_at = now()
    process = await lab.start(started_at)
    openbao.call("POST", f"transit/keys/{key_name}/rotate", {})
    await process.poll(started_at + 1)
    assert process.published(started_at + 1) == [f"{key_name}-v1"]
    await process.poll(started_at + 20)
    assert process.published(started_at + 20) == [f"{key_name}-v2", f"{key_name}-v1"]
    signs_at = process.signs_at(started_at + 20)
    assert signs_at > started_at + 60
    assert kid_of(await process.issue(signs_at - 1)) == f"{key_name}-v1"
    assert kid_of(await process.issue(signs_at)) == f"{key_name}-v2"


async def test_a_version_that_this_server_made_signs_as_soon_as_with_any_store(lab: Laboratory) -> None:
    process, other = await lab.start(now()), await lab.start(now())
    new = await process.rotate(now())
    await other.poll(now() + 1)
    assert process.signs_at(now()) == other.signs_at(now()) <= now() + SIGNS_AFTER_SECONDS + 1
    assert kid_of(await other.issue(other.signs_at(now()))) == new


async def test_an_algorithm_change_makes_a_second_key_beside_the_first(
    lab: Laboratory, key_name: str, openbao: Any
) -> None:
    await lab.start(now())
    process = await lab.start(now(), algorithm="RS256")
    assert await process.rotate(now()) == f"{key_name}-rs256-v1"
    assert await process.rotate(now()) == f"{key_name}-rs256-v2"
    assert process.published(now()) == [f"{key_name}-rs256-v2", f"{key_name}-rs256-v1", f"{key_name}-v1"]
    assert openbao.call("GET", f"transit/keys/{key_name}-rs256")["data"]["type"] == "rsa-2048"
    back = await lab.start(now())
    assert await back.rotate(now()) == f"{key_name}-v2"


async def test_a_key_that_was_deleted_and_made_again_is_another_key(
    lab: Laboratory, key_name: str, openbao: Any
) -> None:
    process = await lab.start(now() - 100)
    (old,) = process.published(now())
    await process.rotate(now() - 50)
    await process.administration.retire(old, now=now())
    openbao.call("POST", f"transit/keys/{key_name}/config", {"deletion_allowed": True})
    openbao.call("DELETE", f"transit/keys/{key_name}")
    time_before = int(openbao.call("GET", "sys/health")["server_time_utc"])
    while int(openbao.call("GET", "sys/health")["server_time_utc"]) == time_before:
        pass
    again = await lab.start(now())
    assert again.published(now()) == [f"{key_name}-v1"]
    assert await again.rotate(now()) == f"{key_name}-v2"
    assert again.published(now()) == [f"{key_name}-v2", f"{key_name}-v1"]


async def test_a_transit_key_of_another_kind_is_refused(lab: Laboratory, key_name: str, openbao: Any) -> None:
    openbao.call("POST", f"transit/keys/{key_name}", {"type": "aes256-gcm96"})
    with pytest.raises(KeyStoreError, match=r"\(aes256-gcm96\) cannot sign ES256 or RS256"):
        await lab.start(now())


async def test_without_vault_nothing_is_signed_and_everything_stays_published(
    lab: Laboratory, openbao: Any, key_name: str, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    role_id, secret_id = openbao.approle(key_name, FULL_POLICY.format(key=key_name))
    process = await lab.start(now())
    token = await process.issue(now())
    good = process.keyring.snapshot(now())
    client = process.keyring._store._client  # type: ignore[attr-defined]
    working, client._token = client._token, Secret("a token that nobody gave")
    for second in (30, 31, 32):
        with pytest.raises(SigningUnavailable):
            await process.issue(now() + second)
        await process.poll(now() + second)
        assert process.keyring.snapshot(now()) is good
    process.verify(token, now())
    with pytest.raises(KeyStoreError, match="403"):
        await process.administration.rotate(now=now())
    errors = [line["msg"] for line in log_lines() if line["level"] == "ERROR"]
    assert errors == ["vault does not sign", "signing keys cannot be read, the last ones stay in use"]

    client._token = working
    assert kid_of(await process.issue(now())) == kid_of(token)
    assert (role_id, secret_id) != ("", "")
    assert "nobody gave" not in str(log_lines())


async def open_as(db: Database, address: str, role: tuple[str, str], key_name: str) -> VaultTransitStore:
    credentials = AppRole(role_id=role[0], secret_id=Secret(role[1]), mount="approle")
    client = await open_vault(address, credentials, call_seconds=10)
    return VaultTransitStore(db, client, mount="transit", key_name=key_name, algorithm="ES256", retention=RETENTION)


async def test_an_approle_that_may_sign_and_read_serves_and_cannot_rotate(
    lab: Laboratory, db: Database, openbao: Any, key_name: str
) -> None:
    role = openbao.approle(key_name, SIGNING_POLICY.format(key=key_name))
    with pytest.raises(KeyStoreError, match="403"):
        await open_keyring(await open_as(db, openbao.address, role, key_name), now=now())
    await lab.start(now())
    store = await open_as(db, openbao.address, role, key_name)
    keyring = await open_keyring(store, now=now())

    async def record(kid: str, change: object = None) -> None:
        raise AssertionError(f"{kid} was not made")

    claims: dict[str, object] = {"sub": "u"}
    assert kid_of((await keyring.sign(claims, now=now())).text) == f"{key_name}-v1"
    with pytest.raises(KeyStoreError, match="403"):
        await keyring.rotate(now(), record)
    await keyring.close()


async def test_wrong_credentials_are_an_error_that_names_neither(openbao: Any, key_name: str) -> None:
    role_id, _ = openbao.approle(key_name, SIGNING_POLICY.format(key=key_name))
    credentials = AppRole(role_id=role_id, secret_id=Secret("a wrong secret"), mount="approle")
    with pytest.raises(VaultError, match="auth/approle/login") as refused:
        await open_vault(openbao.address, credentials, call_seconds=10)
    assert "a wrong secret" not in str(refused.value)
