"""The official MCP conformance suite's checks of authorization servers, unmodified."""

import json
from pathlib import Path

import httpx2
import pytest

from e2e.harness.command import run_client
from e2e.harness.identity import REDIRECT_URI, Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.person import Person
from e2e.harness.processes import free_port
from e2e.harness.program import NODE, NODE_PACKAGES

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

SUITE = NODE_PACKAGES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
CHECKS = {"authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"}


def registered_client(installation: Installation) -> str:
    """Register a public client as the suite's user is told to."""
    answer = httpx2.post(
        f"{installation.issuer}/oauth/register", json={"client_name": "Suite", "redirect_uris": [REDIRECT_URI]}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


def test_every_check_of_the_conformance_suite_passes(
    installation: Installation, demo: Demo, person: Person, identity: Identity, tmp_path: Path
) -> None:
    client_id = identity.metadata_url or identity.client_id or registered_client(installation)
    ended = run_client(
        [
            *(NODE, SUITE, "authorization", "--url", installation.issuer, "--client-id", client_id),
            *("--resource", demo.url, "--port", str(free_port()), "--output-dir", tmp_path),
        ],
        issuer=installation.issuer,
        person=person,
    )
    assert ended.code == 0, ended.output
    checks = [check for file in tmp_path.rglob("checks.json") for check in json.loads(file.read_text())]
    assert {check["id"]: check["status"] for check in checks} == dict.fromkeys(CHECKS, "SUCCESS"), checks
