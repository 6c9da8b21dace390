"""A backup while the server serves, a lost database, a restore: what was there before goes on."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from e2e.harness.installation import AUTHSERVER, Installation, Machine
from e2e.harness.processes import clean_environment, wait_until

RESOURCE = "https://mcp.example.com/backup"


@pytest.fixture(scope="module", params=["sqlite"])
def installation(installation: Installation) -> Installation:
    """PostgreSQL has tools of its own."""
    return installation


@contextmanager
def tokens_of(machine: Machine, issuer: str) -> Iterator[list[str]]:
    """Have the machine ask for one token after the other; yield those that it has so far."""
    tokens: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answer = machine.ask(issuer, resource=RESOURCE)
            if answer.status_code == 200:
                tokens.append(answer.json()["access_token"])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield tokens
    finally:
        stop.set()
        thread.join(30)


def test_what_was_issued_before_a_backup_is_good_after_its_restore(installation: Installation) -> None:
    database, file = installation.directory / "authserver.db", installation.directory / "backup.db"
    with installation.serve():
        credentials = installation.create_resource_client()
        installation.create_resource(RESOURCE, runtime_client_id=credentials[0])
        machine = installation.create_machine("notes:read")
        with tokens_of(machine, installation.issuer) as tokens:
            wait_until(lambda: len(tokens) > 20, seconds=20, what="the first tokens")
            before = tokens[:]
            assert installation.run("backup", str(file)).startswith("backup written: ")
            number = len(tokens)
            wait_until(lambda: len(tokens) > number, seconds=20, what="tokens after the backup")
            refused = subprocess.run(
                [AUTHSERVER, "restore", "--force", str(file)],
                env=clean_environment() | installation.environment,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                cwd=installation.directory,
            )
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "is in use: stop the server first" in refused.stderr
    for lost in installation.directory.glob(f"{database.name}*"):
        lost.unlink()
    assert installation.run("restore", str(file)).startswith("backup restored: ")
    with installation.serve():
        for token in before:
            answer = httpx2.post(f"{installation.issuer}/oauth/introspect", data={"token": token}, auth=credentials)
            assert answer.json()["active"] is True
        assert machine.ask(installation.issuer, resource=RESOURCE).status_code == 200
