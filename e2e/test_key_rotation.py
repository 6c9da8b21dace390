"""Two instances on PostgreSQL whose keys are rotated, retired and changed under load, while one of them is killed."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import httpx2
import jwt
import pytest

from e2e.harness.inspection import Inspection
from e2e.harness.installation import Installation, Machine, found, postgres_database
from e2e.harness.processes import Process, free_port, wait_until
from throwaway_openbao import OpenBao, throwaway_openbao

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

SCOPE = "notes:read"
LOAD_PER_INSTANCE = 2
# Two and five on a machine of one's own.
OBEYED_WITHIN_SECONDS = 10
NEW_KEY_SIGNS_WITHIN_SECONDS = 30
# A steady load, not all that the machine gives: commands must come through.
PAUSE_SECONDS = 0.25
REQUEST_SECONDS = 20
POLICY = """
path "transit/sign/{key}*" {{ capabilities = ["update"] }}
path "transit/keys/{key}*" {{ capabilities = ["create", "read", "update"] }}
"""


@pytest.fixture(scope="module")
def openbao() -> Iterator[OpenBao]:
    with throwaway_openbao(free_port()) as server:
        yield server


def vault_environment(openbao: OpenBao) -> dict[str, str]:
    """Sign in Vault, let in by an AppRole whose tokens are renewed several times during a test."""
    key_name = f"signing-{uuid.uuid4().hex[:8]}"
    role_id, secret_id = openbao.approle(key_name, POLICY.format(key=key_name), token_ttl="20s")
    return {
        "AUTHPLANE_SIGNING_KEY_STORE": "vault_transit",
        "AUTHPLANE_VAULT_ADDR": openbao.address,
        "AUTHPLANE_VAULT_TRANSIT_KEY_NAME": key_name,
        "AUTHPLANE_VAULT_APPROLE_ROLE_ID": role_id,
        "AUTHPLANE_VAULT_APPROLE_SECRET_ID": secret_id,
    }


@pytest.fixture
def installation(
    tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str, openbao: OpenBao
) -> Iterator[Installation]:
    with postgres_database(postgres_dsn) as database:
        extra = vault_environment(openbao) | {"AUTHPLANE_RATE_LIMIT_ENABLED": "false"}
        yield Installation(tmp_path_factory.mktemp("vault"), database=database, extra=extra)


def published(origin: str) -> dict[str, jwt.PyJWK]:
    """Return the keys of an instance by name, in its order."""
    document = httpx2.get(f"{origin}/.well-known/jwks.json", timeout=REQUEST_SECONDS).json()
    return {key["kid"]: jwt.PyJWK.from_dict(key) for key in document["keys"]}


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


@dataclass(kw_only=True)
class Load:
    """Machines that ask both instances for tokens, and verify each with what both published before it was asked for."""

    machine: Machine
    issuer: str
    origins: list[str]
    tokens: list[str] = field(default_factory=list)
    newest: dict[str, str] = field(default_factory=dict)
    is_stopping: bool = False

    async def run(self) -> None:
        async with httpx2.AsyncClient(timeout=REQUEST_SECONDS) as http:
            await asyncio.gather(
                *(self._ask(http, origin) for origin in self.origins for _ in range(LOAD_PER_INSTANCE))
            )

    async def _ask(self, http: httpx2.AsyncClient, origin: str) -> None:
        while not self.is_stopping:
            documents = [await self._document(http, each) for each in self.origins]
            try:
                answer = await http.post(
                    f"{origin}/oauth/token",
                    data={"grant_type": "client_credentials"},
                    auth=(self.machine.client_id, self.machine.secret or ""),
                )
            except httpx2.TransportError:
                await asyncio.sleep(PAUSE_SECONDS)  # it was killed, and is started again
                continue
            assert answer.status_code == 200, answer.text
            token = answer.json()["access_token"]
            for keys in documents:
                if keys is not None:
                    self.verify(token, keys)
            self.tokens.append(token)
            self.newest[origin] = token
            await asyncio.sleep(PAUSE_SECONDS)

    async def _document(self, http: httpx2.AsyncClient, origin: str) -> dict[str, jwt.PyJWK] | None:
        """Return what an instance publishes; None while it is dead."""
        with suppress(httpx2.TransportError):
            document = (await http.get(f"{origin}/.well-known/jwks.json")).json()
            return {key["kid"]: jwt.PyJWK.from_dict(key) for key in document["keys"]}
        return None

    def verify(self, token: str, keys: dict[str, jwt.PyJWK]) -> None:
        kid = kid_of(token)
        assert kid in keys, f"{kid} is not published, only {list(keys)}"
        claims = jwt.decode(token, keys[kid], audience=self.issuer, issuer=self.issuer)
        assert claims["client_id"] == self.machine.client_id

    async def until_signed_by(self, kid: str) -> None:
        """Wait until both instances sign with a key."""
        deadline = time.monotonic() + NEW_KEY_SIGNS_WITHIN_SECONDS
        while {origin: kid_of(token) for origin, token in self.newest.items()} != dict.fromkeys(self.origins, kid):
            assert time.monotonic() < deadline, f"{kid} does not sign everywhere"
            await asyncio.sleep(0.05)


async def test_no_token_ever_fails_to_verify_whatever_happens_to_keys_and_instances(
    installation: Installation,
) -> None:
    ports = (installation.port, free_port())
    survivor = installation.serve(port=ports[0])
    victim = installation.serve(port=ports[1])
    started: list[Process] = [survivor, victim]
    try:
        await scenario(installation, [f"http://127.0.0.1:{port}" for port in ports], started)
    finally:
        for process in started:
            process.end()


async def scenario(installation: Installation, origins: list[str], started: list[Process]) -> None:
    machine = installation.create_machine(SCOPE)
    load = Load(machine=machine, issuer=installation.issuer, origins=origins)
    (first,) = published(origins[0])
    running = asyncio.create_task(load.run())

    async def command(*arguments: str) -> str:
        done = asyncio.create_task(asyncio.to_thread(installation.run, *arguments))
        await asyncio.wait({done, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        return await done

    await load.until_signed_by(first)
    # One instance dies during a rotation and a purge.
    rotation = asyncio.create_task(command("admin", "key", "rotate"))
    purge = asyncio.create_task(command("purge"))
    await asyncio.sleep(0)
    await asyncio.to_thread(started[1].kill)
    second = found(r"\bkid=(\S+)", await rotation)
    await purge
    started.append(await asyncio.to_thread(installation.serve, port=int(origins[1].rpartition(":")[2])))
    await load.until_signed_by(second)
    # Another algorithm: both instances are told by a restart, one after the other, and the rotation makes it so.
    installation.environment["AUTHPLANE_SIGNING_ALGORITHM"] = "RS256"
    third = found(r"\bkid=(\S+)", await command("admin", "key", "rotate"))
    await load.until_signed_by(third)
    assert all(list(published(origin)) == [third, second, first] for origin in origins)
    stolen = next(token for token in load.tokens if kid_of(token) == first)
    # The first key is taken out: nobody takes its tokens any more.
    assert is_active(installation, origins[1], stolen, machine)
    await command("admin", "key", "retire", "--kid", first)
    for origin in origins:
        wait_until(
            partial(lambda origin: list(published(origin)) == [third, second], origin),
            seconds=OBEYED_WITHIN_SECONDS,
            what="the retirement is obeyed",
        )
        assert not is_active(installation, origin, stolen, machine)
    load.is_stopping = True
    await running
    for origin in origins:
        keys = published(origin)
        for token in load.tokens:
            if kid_of(token) != first:
                load.verify(token, keys)
    assert {kid_of(token) for token in load.tokens} == {first, second, third}
    await nothing_is_missing(installation, load)


def is_active(installation: Installation, origin: str, token: str, machine: Machine) -> bool:
    """Ask about a token as the client it was issued to."""
    answer = httpx2.post(
        f"{origin}/oauth/introspect",
        data={"token": token},
        auth=(machine.client_id, machine.secret or ""),
        timeout=REQUEST_SECONDS,
    )
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


async def nothing_is_missing(installation: Installation, load: Load) -> None:
    """Every token that was answered, and every change of a key, has its row, and the audit chain proves the rows."""
    issued, changed = await Inspection(installation.environment).rows(
        f"SELECT detail FROM audit_events WHERE action = 'client_credentials.issued'"
        f" AND client_id = '{load.machine.client_id}'",
        "SELECT action FROM audit_events WHERE action LIKE 'key.%' ORDER BY id",
    )
    told = {found(r"\bjti=(\S+)", row[0]) for row in issued}
    answered = {jwt.decode(token, options={"verify_signature": False})["jti"] for token in load.tokens}
    assert answered <= told
    assert [row[0] for row in changed] == ["key.rotated", "key.rotated", "key.retired"]

    report = json.loads(installation.run("admin", "audit", "verify", "--json"))
    assert (report["intact"], report["fault_count"]) == (True, 0)
