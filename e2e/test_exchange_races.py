"""Exchanges in two processes while an operator takes the consent back: whatever was handed out is worth nothing after."""

import asyncio
from collections import Counter

import httpx2
import pytest

from e2e.harness.installation import KNOWN_WITHIN_SECONDS
from e2e.harness.processes import wait_until
from e2e.harness.scene import ACCESS_TOKEN, EXCHANGE, Scene

pytestmark = pytest.mark.anyio

AT_ONCE = 24
ENOUGH = 150


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """All load comes from one address here."""
    return server_environment | {"AUTHPLANE_RATE_LIMIT_ENABLED": "false"}


async def test_no_descendant_outlives_a_consent_that_is_revoked_while_two_processes_exchange(
    scene: Scene,
) -> None:
    gateway = scene.client("gw", "--grant-types", EXCHANGE)
    agent = scene.client("agent", "--grant-types", f"authorization_code,{EXCHANGE}")
    source, target = scene.resource("gw", "a", runtime=gateway), scene.resource("api", "a")
    scene.link(source.slug, target.slug, "a:a")
    root = scene.tokens_of(scene.with_browser(agent, source.uri), scope="a")["access_token"]
    user = scene.claims(root)["sub"]
    wait_until(
        lambda: scene.exchange(gateway, root, resource=target.slug).status_code == 200,
        seconds=KNOWN_WITHIN_SECONDS,
        what="the link is known",
    )
    answers: list[httpx2.Response] = []
    over = asyncio.Event()
    busy = asyncio.Event()

    async def keep_exchanging(http: httpx2.AsyncClient, origin: str, nth: int) -> None:
        """Go along the link; or for the resource itself by the consent, each time from what came of it before."""
        subject = root
        while not over.is_set():
            caller, wanted = (gateway, target) if nth % 2 else (agent, source)
            form = {"subject_token": subject, "resource": wanted.slug}
            answer = await http.post(
                f"{origin}/oauth/token",
                data={"grant_type": EXCHANGE, "subject_token_type": ACCESS_TOKEN, **form},
                auth=(caller.client_id, caller.secret or ""),
            )
            answers.append(answer)
            if answer.status_code != 200:
                return
            if wanted == source:
                subject = answer.json()["access_token"]
            if len(answers) >= ENOUGH:
                busy.set()

    with scene.another_process() as second:
        origins = (scene.issuer, second)
        async with httpx2.AsyncClient(timeout=30, limits=httpx2.Limits(max_connections=AT_ONCE)) as http:
            work = asyncio.gather(*(keep_exchanging(http, origins[n // 2 % 2], n) for n in range(AT_ONCE)))
            async with asyncio.timeout(60):
                await busy.wait()
            await asyncio.to_thread(scene.revoke_consent, user, agent.client_id, source.id)
            async with asyncio.timeout(60):
                await work
    refused = Counter(answer.json()["error"] for answer in answers if answer.status_code != 200)
    assert set(refused) <= {"invalid_grant", "consent_required"}
    assert sum(refused.values()) == AT_ONCE
    (left,) = await scene.inspection.rows(f"SELECT id FROM issuances WHERE subject = '{user}' AND revoked_at IS NULL")
    assert left == []
