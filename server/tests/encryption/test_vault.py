"""The client of Vault, and encryption by it, with a real server."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from authserver.config.declaring import ConfigError
from authserver.config.secret import Secret
from authserver.config.sections.storage import (
    DataEncryptionConfig,
    EncryptApproleConfig,
    VaultTransitEncryptConfig,
)
from authserver.encryption import vault
from authserver.encryption.encryptor import EncryptionFailed, Encryptor, EncryptorUnavailable
from authserver.encryption.opening import open_encryptor
from authserver.encryption.vault import AppRole, VaultError, VaultNotFound, VaultUnavailable, open_vault
from server.tests.fakes.document_server import Answer, document_server

POLICY = """
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
"""

pytestmark = pytest.mark.anyio


@pytest.fixture
def key_name(openbao: Any) -> str:
    """A key as it should be: derived."""
    name = f"sealing-{uuid.uuid4().hex[:8]}"
    openbao.call("POST", f"transit/keys/{name}", {"type": "aes256-gcm96", "derived": True})
    return name


def configured(openbao: Any, key_name: str) -> DataEncryptionConfig:
    transit = VaultTransitEncryptConfig(address=openbao.address, key_name=key_name, token_env="TOKEN")
    return DataEncryptionConfig(driver="vault_transit_encrypt", vault_transit_encrypt=transit)


@pytest.fixture
async def encryptor(openbao: Any, key_name: str) -> AsyncIterator[Encryptor]:
    encryptor = await open_encryptor(configured(openbao, key_name), {"TOKEN": "root"})
    assert encryptor is not None
    yield encryptor
    await encryptor.close()


async def test_what_was_sealed_opens_under_its_context_and_no_other(encryptor: Encryptor) -> None:
    sealed = await encryptor.seal(b"\x00secret", context="signing-key:abc")
    assert sealed.startswith(b"vault:v1:")
    assert await encryptor.open(sealed, context="signing-key:abc") == b"\x00secret"
    for attempt, context in ((sealed, "signing-key:abd"), (sealed[:-4] + b"AAAA", "signing-key:abc"), (b"", "x")):
        with pytest.raises(EncryptionFailed) as refused:
            await encryptor.open(attempt, context=context)
        assert refused.value.error_type == "vault_request"
        assert not isinstance(refused.value, EncryptorUnavailable)


async def test_a_value_of_an_older_version_of_the_key_still_opens(
    encryptor: Encryptor, openbao: Any, key_name: str
) -> None:
    sealed = await encryptor.seal(b"secret", context="c")
    openbao.call("POST", f"transit/keys/{key_name}/rotate", {})
    assert (await encryptor.seal(b"secret", context="c")).startswith(b"vault:v2:")
    assert await encryptor.open(sealed, context="c") == b"secret"


async def test_a_key_that_binds_nothing_to_its_context_is_warned_of(
    openbao: Any, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    name = f"sealing-{uuid.uuid4().hex[:8]}"
    openbao.call("POST", f"transit/keys/{name}", {"type": "aes256-gcm96"})
    encryptor = await open_encryptor(configured(openbao, name), {"TOKEN": "root"})
    assert encryptor is not None
    await encryptor.close()
    (line,) = [line for line in log_lines() if line["level"] == "WARN"]
    assert "create it with derived=true" in line["msg"]


async def test_an_approle_with_the_two_paths_of_the_contract_is_enough(openbao: Any, key_name: str) -> None:
    role_id, secret_id = openbao.approle(key_name, POLICY.format(key=key_name))
    transit = VaultTransitEncryptConfig(
        address=openbao.address,
        key_name=key_name,
        auth_method="approle",
        approle=EncryptApproleConfig(role_id_env="ROLE", secret_id_env="SECRET"),
    )
    config = DataEncryptionConfig(driver="vault_transit_encrypt", vault_transit_encrypt=transit)
    encryptor = await open_encryptor(config, {"ROLE": role_id, "SECRET": secret_id})
    assert encryptor is not None
    assert await encryptor.open(await encryptor.seal(b"x", context="c"), context="c") == b"x"
    await encryptor.close()


@pytest.mark.parametrize(
    ("environ", "said"),
    [({}, "TOKEN is not set"), ({"TOKEN": "a secret that is wrong"}, "403")],
)
async def test_boot_fails_without_a_token_that_works(
    openbao: Any, key_name: str, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        await open_encryptor(configured(openbao, key_name), environ)
    assert "a secret that is wrong" not in str(refused.value)


async def test_a_vault_that_is_away_is_told_from_one_that_refuses(openbao: Any) -> None:
    client = await open_vault(openbao.address, Secret("root"), call_seconds=10)
    with pytest.raises(VaultNotFound):
        await client.read("transit/keys/nothing")
    with pytest.raises(VaultError) as refused:
        await client.write("transit/sign/nothing", {"input": "QQ=="})
    assert not isinstance(refused.value, VaultUnavailable)
    await client.close()
    async with document_server() as server:
        server.answers["/v1/a"] = Answer(status=503, body=b'{"errors":["Vault is sealed"]}' + b" " * 400 + b"end")
        server.answers["/v1/b"] = Answer(body=b"no JSON")
        server.answers["/v1/c"] = Answer(body=b"[]")
        sealed = await open_vault(server.url(""), Secret("root"), call_seconds=10)
        with pytest.raises(VaultUnavailable, match="Vault is sealed") as away:
            await sealed.read("a")
        assert "end" not in str(away.value)
        for path in ("b", "c"):
            with pytest.raises(VaultError, match="vault answers no"):
                await sealed.read(path)
        await sealed.close()
    gone = await open_vault(server.url(""), Secret("root"), call_seconds=10)
    with pytest.raises(VaultUnavailable, match="vault does not answer GET a: connect"):
        await gone.read("a")
    await gone.close()


async def test_writes_that_meet_all_succeed(openbao: Any) -> None:
    path = f"transit/keys/meeting-{uuid.uuid4().hex[:8]}"
    openbao.call("POST", path, {"type": "ecdsa-p256"})
    clients = [await open_vault(openbao.address, Secret("root"), call_seconds=10) for _ in range(8)]
    await asyncio.gather(*(client.write(f"{path}/rotate", {}, is_repeatable=False) for client in clients))
    assert openbao.call("GET", path)["data"]["latest_version"] >= 9
    for client in clients:
        await client.close()


async def test_a_conflict_is_tried_again_a_few_times_and_another_error_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_CONFLICT_PAUSE_MS", 1)
    async with document_server() as server:
        conflict = b'{"errors":["1 error occurred:\\n\\t* transaction commit failed\\n\\n"]}'
        server.answers["/v1/conflict"] = Answer(status=500, body=conflict)
        server.answers["/v1/failure"] = Answer(status=500, body=b'{"errors":["disk full"]}')
        client = await open_vault(server.url(""), Secret("root"), call_seconds=10)
        for path, sent in (("conflict", 8), ("failure", 1)):
            server.requests.clear()
            with pytest.raises(VaultUnavailable, match="vault answers 500"):
                await client.write(path, {}, is_repeatable=False)
            assert len(server.requests) == sent
        await client.close()


async def test_conflicts_are_met_for_no_longer_than_one_call_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_CONFLICT_PAUSE_MS", 1)
    # When it begins, and after each conflict.
    monkeypatch.setattr(vault, "time", SimpleNamespace(monotonic=iter([0.0, 9.0, 10.0]).__next__))
    async with document_server() as server:
        server.answers["/v1/conflict"] = Answer(status=500, body=b'{"errors":["transaction commit failed"]}')
        client = await open_vault(server.url(""), Secret("root"), call_seconds=10)
        with pytest.raises(VaultUnavailable, match="vault answers 500"):
            await client.write("conflict", {})
        assert len(server.requests) == 2
        await client.close()


async def test_a_token_is_renewed_before_it_ends_and_a_failure_leaves_the_old_one(
    monkeypatch: pytest.MonkeyPatch, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    monkeypatch.setattr(vault, "_LEAST_RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(vault, "_RETRY_SECONDS", 0.01)

    def lease(token: str) -> Answer:
        return Answer(body=b'{"auth":{"client_token":"%s","lease_duration":0}}' % token.encode())

    async with document_server() as server:
        server.answers["/v1/auth/approle/login"] = lease("first")
        server.answers["/v1/a"] = Answer(body=b'{"data":{}}')
        role = AppRole(role_id="r", secret_id=Secret("s"), mount="approle")
        client = await open_vault(server.url(""), role, call_seconds=10)
        server.answers["/v1/auth/approle/login"] = Answer(status=500)
        seen = len(server.requests)
        await server.wait_for_requests(seen + 2)
        await client.read("a")
        assert "x-vault-token: first" in next(asked for asked in server.requests if " /v1/a " in asked).lower()
        server.answers["/v1/auth/approle/login"] = lease("second")

        async def has_second() -> bool:
            await client.read("a")
            return "x-vault-token: second" in [each for each in server.requests if " /v1/a " in each][-1].lower()

        async with asyncio.timeout(5):
            while not await has_second():
                continue
        await client.close()
    warned = [line for line in log_lines() if line["msg"] == "vault token renewal failed"]
    assert warned
    assert all(line["level"] == "WARN" and "500" in line["error"] for line in warned)
    assert all(secret not in str(log_lines()) for secret in ("first", "second"))
