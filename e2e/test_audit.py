"""The audit trail of real servers: delivered through kills and outages, and nobody edits it unnoticed."""

import asyncio
import json
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import httpx2
import jwt
import pytest

from e2e.harness.installation import Installation, Machine
from e2e.harness.processes import clean_environment, wait_until
from e2e.harness.siem import Siem, running_siem

pytestmark = pytest.mark.timeout(240)

DELIVERED_WITHIN_SECONDS = 90
TOKENS = 20
MOST_TOKENS = 300


@pytest.fixture(scope="module")
def siem() -> Iterator[Siem]:
    with running_siem() as running:
        yield running


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str], siem: Siem) -> dict[str, str]:
    return server_environment | {
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_AUDIT_WEBHOOK_URL": siem.url,
        "AUTHPLANE_AUDIT_WEBHOOK_SECRET_REF": "CONNECTOR_SIEM",
        "AUTHPLANE_AUDIT_WEBHOOK_ALLOW_PRIVATE_ADDRESSES": "true",
        "CONNECTOR_SIEM": "a secret of the tests",
    }


def ask(installation: Installation, machine: Machine, number: int, enough: threading.Event) -> list[str]:
    """Ask for tokens until there are enough or the server is gone; return their ids."""
    got: list[str] = []
    while len(got) < number and not enough.is_set():
        try:
            answer = machine.ask(installation.issuer)
        except httpx2.HTTPError:
            break
        assert answer.status_code == 200, answer.text
        claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
        got.append(claims["jti"])
    return got


def pending(installation: Installation) -> int:
    (webhook,) = json.loads(installation.run("admin", "audit", "delivery", "--json"))
    return int(webhook["pending"])


def unsealed(installation: Installation) -> int:
    if "no checkpoints" in installation.run("admin", "audit", "checkpoint"):
        # Rows without any seal prove nothing, which fails a verification.
        return 1
    return int(json.loads(installation.run("admin", "audit", "verify", "--json"))["unsealed"])


def verify(installation: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, installation.command), "admin", "audit", "verify", *words],
        cwd=installation.directory,
        env=clean_environment() | installation.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_kills_and_outages_lose_no_event_and_keep_the_order(installation: Installation, siem: Siem) -> None:
    siem.posts.clear()
    machine = installation.create_machine("a")
    issued: list[str] = []
    with ThreadPoolExecutor(3) as pool, installation.operator():
        server = installation.serve()
        try:
            # It begins before there is anything to send, or what is sealed first would count as old.
            wait_until(
                lambda: "webhook" in installation.run("admin", "audit", "delivery"), seconds=20, what="delivery began"
            )
            enough = threading.Event()
            issued += ask(installation, machine, TOKENS, enough)
            siem.status = 503
            working = [pool.submit(ask, installation, machine, MOST_TOKENS, enough) for _ in range(3)]
            wait_until(lambda: any(status == 503 for status, _ in siem.posts), seconds=30, what="a post was refused")
            server.kill()
            for each in working:
                issued += each.result()
            siem.status = 200
            server = installation.serve()
            issued += ask(installation, machine, TOKENS, enough)
            assert server.stop() == 0
            server = installation.serve()
            wait_until(
                lambda: unsealed(installation) == 0 and pending(installation) == 0,
                seconds=DELIVERED_WITHIN_SECONDS,
                what="everything was sealed and delivered",
            )
        finally:
            server.end()

    numbers = [event["sequence"] for event in siem.accepted]
    once = list(dict.fromkeys(numbers))
    assert once == sorted(once) == list(range(once[0], once[0] + len(once)))
    delivered = {event["detail"] for event in siem.accepted if event["action"] == "client_credentials.issued"}
    missing = [jti for jti in issued if not any(f"jti={jti}" in detail for detail in delivered)]
    assert missing == []
    report = json.loads(verify(installation, "--json").stdout)
    assert (report["intact"], report["unsealed"], report["last"]) == (True, 0, siem.accepted[-1]["checkpoint"])


def change_by_hand(installation: Installation, record_id: str, detail: str) -> None:
    """Edit a row as somebody does who may write to the database."""
    statement = "UPDATE audit_rows SET detail = {} WHERE id = {}"
    path = installation.environment.get("AUTHPLANE_STORAGE_SQLITE_PATH")
    if path:
        connection = sqlite3.connect(path)
        with connection:
            assert connection.execute(statement.format("?", "?"), (detail, bytes.fromhex(record_id))).rowcount == 1
        connection.close()
        return

    async def change() -> None:
        connection = await asyncpg.connect(installation.environment["AUTHPLANE_STORAGE_POSTGRES_DSN"])
        values = detail, bytes.fromhex(record_id)
        assert await connection.execute(statement.format("$1", "$2"), *values) == "UPDATE 1"
        await connection.close()

    asyncio.run(change())


def test_a_row_that_is_edited_by_hand_is_found_and_named(installation: Installation) -> None:
    with installation.serve(), installation.operator():
        machine = installation.create_machine("b")
        assert machine.ask(installation.issuer).status_code == 200
        wait_until(lambda: unsealed(installation) == 0, seconds=60, what="everything was sealed")
        events = json.loads(
            installation.run(
                *("admin", "audit", "list", "--client", machine.client_id, "--action", "client_credentials.issued"),
                "--json",
            )
        )
        (event,) = events
        identifier = jwt.utils.base64url_decode(event["id"]).hex()
        change_by_hand(installation, identifier, event["detail"].replace("jti=", "jti=x"))
        done = verify(installation)
        change_by_hand(installation, identifier, event["detail"])
        exported = installation.directory / "audit.jsonl"
        installation.run("admin", "audit", "export", "--output", str(exported))
        keys = installation.directory / "jwks.json"
        keys.write_text(httpx2.get(f"{installation.issuer}/.well-known/jwks.json").text)

    assert done.returncode == 1
    assert done.stderr == f"error: the audit trail is not as it was sealed: the first bad row is {event['id']}\n"
    assert f"row={event['id']} " in done.stdout
    # Put back, it is as it was, also for somebody who has a file and the published keys.
    assert verify(installation).returncode == 0
    assert verify(installation, "--file", str(exported), "--keys", str(keys)).returncode == 0
