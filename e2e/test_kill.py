"""Kill -9 in the middle of a load of redemptions and refreshes, fifty times over, and at chosen points.

With two workers there are fewer kills unless ``KILL_ROUNDS`` says how many: ``make kills`` has fifty of each kind.
"""

import asyncio
import hashlib
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from urllib.parse import urlencode

import httpx2
import pytest

from e2e.harness.installation import EVERYWHERE, TWO_WORKERS, Installation
from e2e.harness.load import PATIENCE_SECONDS, Load, Session
from e2e.harness.oauth_client import Code
from e2e.harness.processes import Process, wait_until
from e2e.harness.site import LOAD_ENVIRONMENT, Site, prepared_site

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("KILL_ROUNDS", "50"))
CLIENTS = 12
WORKER_ROUNDS = int(os.environ.get("KILL_ROUNDS", "9"))

everywhere = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """All load comes from one address here."""
    return server_environment | LOAD_ENVIRONMENT


@pytest.fixture(scope="module")
def site(installation: Installation) -> Iterator[Site]:
    with prepared_site(installation) as site:
        yield site


def kill_at(number: int, kill: Callable[[], None]) -> Callable[[int], None]:
    """Return what to call with the number of answers so far: it kills once, in the middle of the next requests."""

    def on_answer(answered: int) -> None:
        if answered == number:
            kill()

    return on_answer


async def test_fifty_kills_under_load_lose_nothing_and_spend_nothing_twice(site: Site) -> None:
    server = site.installation.serve()
    # These live through all kills.
    old = Load(site.client, site.person)
    await old.run(4, on_answer=kill_at(40, old.stop))
    cut_off = 0
    try:
        for n in range(ROUNDS):
            load = Load(site.client, site.person)
            await load.run(CLIENTS, on_answer=kill_at(10 + n * 37 % 90, server.kill))
            server = site.installation.serve()
            await site.check(load.sessions + old.sessions[:4])
            cut_off += sum(session.pending is not None for session in load.sessions)
    finally:
        server.end()
    # Not a kill at rest: requests were under way each time.
    assert cut_off > ROUNDS


async def answer_of_doomed(site: Site, form: dict[str, str]) -> httpx2.Response | None:
    """Send a form to a server that is about to die; None when it died first."""
    async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS, verify=False) as http:
        try:
            return await http.post(f"{site.client.issuer}/oauth/token", data=form)
        except httpx2.HTTPError:
            return None


async def wait_for(condition: Callable[[], Awaitable[bool]], *, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} seconds"
        await asyncio.sleep(0.005)


@everywhere
async def test_a_kill_between_the_last_statement_and_the_commit_spends_nothing(site: Site) -> None:
    with site.installation.serve() as server:
        code = site.client.get_code(site.person)
        refreshing = Session(site.client.get_code(site.person))
        refreshing.answers.append(site.client.request_token(site.client.redemption(refreshing.code)).json())
        forms = site.client.redemption(code), site.client.refresh(refreshing.newest)
        async with site.inspection.holding_commits() as held:
            sending = [asyncio.create_task(answer_of_doomed(site, form)) for form in forms]
            await wait_for(held.has_open_writer, what="the writer is held")
            server.kill_group()
            assert await asyncio.gather(*sending) == [None, None]
    with site.installation.serve():
        assert not await is_redeemed(site, code)
        await site.check([Session(code, pending=forms[0]), refreshing])


async def is_redeemed(site: Site, code: Code) -> bool:
    wanted = hashlib.sha256(code.value.encode()).hexdigest()
    column = "hex(code_hash)" if site.inspection.is_sqlite else "encode(code_hash, 'hex')"
    (rows,) = await site.inspection.rows(
        f"SELECT 1 FROM authorizations WHERE lower({column}) = '{wanted}' AND consumed_at IS NOT NULL"
    )
    return bool(rows)


@everywhere
async def test_a_kill_between_the_commit_and_the_answer_leaves_the_family_whole(site: Site) -> None:
    with site.installation.serve() as server:
        redeeming = Session(site.client.get_code(site.person))
        refreshing = Session(site.client.get_code(site.person))
        refreshing.answers.append(site.client.request_token(site.client.redemption(refreshing.code)).json())
        (before,) = await site.inspection.rows("SELECT count(*) FROM issuances")
        # Sent, and never read: whatever the server says is lost with it.
        forms = site.client.redemption(redeeming.code), site.client.refresh(refreshing.newest)
        redeeming.pending, refreshing.pending = forms
        writers = [await post_unread(site, form) for form in forms]

        async def both_are_stored() -> bool:
            (now,) = await site.inspection.rows("SELECT count(*) FROM issuances")
            return bool(now[0][0] == before[0][0] + 2)

        await wait_for(both_are_stored, what="both are committed")
        server.kill_group()
        for writer in writers:
            writer.close()
    with site.installation.serve():
        assert await is_redeemed(site, redeeming.code)
        await site.check([redeeming, refreshing])


async def post_unread(site: Site, form: dict[str, str]) -> asyncio.StreamWriter:
    """Send a form and leave the answer in the network."""
    _, writer = await asyncio.open_connection("127.0.0.1", site.installation.port)
    body = urlencode(form).encode()
    head = (
        "POST /oauth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return writer


@everywhere
async def test_a_stop_under_load_answers_all_it_did_and_leaves_nothing_behind(site: Site) -> None:
    server = site.installation.serve()
    try:
        load = Load(site.client, site.person)
        await load.run(CLIENTS, on_answer=kill_at(40, partial(os.kill, server.pid, signal.SIGTERM)))
        assert await asyncio.to_thread(server.wait) == 0
    finally:
        server.end()
    with site.installation.serve():
        # Who got no answer came too late to be served: nothing was done for them.
        codes, tokens = await site.inspection.rows(
            "SELECT code_hash FROM authorizations WHERE consumed_at IS NOT NULL",
            "SELECT token_hash FROM refresh_tokens WHERE consumed_at IS NOT NULL",
        )
        spent = {bytes(spent_hash) for (spent_hash,) in [*codes, *tokens]}
        for session in load.sessions:
            form = session.pending or {}
            secret = form.get("code") or form.get("refresh_token") or ""
            assert hashlib.sha256(secret.encode()).digest() not in spent, session.story()
        await site.check(load.sessions)


@pytest.mark.parametrize("installation", [TWO_WORKERS], indirect=True, scope="module")
async def test_killing_workers_and_whole_groups_under_load_loses_nothing_and_spends_nothing_twice(site: Site) -> None:
    server = site.installation.serve()
    old = Load(site.client, site.person)
    await old.run(4, on_answer=kill_at(40, old.stop))
    cut_off = 0
    try:
        for n in range(WORKER_ROUNDS):
            wait_until(partial(has_two_workers, server), seconds=PATIENCE_SECONDS, what="two workers")
            number = 10 + n * 37 % 60
            if n % 3 != 2:
                load = await load_while_a_worker_dies(site, server, number=number)
            else:
                load = Load(site.client, site.person)
                # Of the group every process, or the supervisor, whom the workers follow.
                kill = server.kill_group if n % 2 else server.kill
                await load.run(CLIENTS, on_answer=kill_at(number, kill))
                server = site.installation.serve()
            await site.check(load.sessions + old.sessions[:4])
            cut_off += sum(session.pending is not None for session in load.sessions)
    finally:
        server.end()
    assert cut_off > WORKER_ROUNDS


def has_two_workers(server: Process) -> bool:
    return len(server.workers) == 2


def no_refusal(answer: httpx2.Response) -> None:
    """Tolerate nothing: who is left serves everybody."""
    raise AssertionError(f"{answer.status_code}: {answer.text}")


async def load_while_a_worker_dies(site: Site, server: Process, *, number: int) -> Load:
    """Kill either worker after a number of answers; whoever is cut off begins anew, until as many answers again came."""
    before = server.workers
    victim = secrets.choice(before)
    load = Load(site.client, site.person, tolerates=no_refusal)

    def on_answer(answered: int) -> None:
        if answered == number:
            os.kill(victim, signal.SIGKILL)
        elif answered == 2 * number:
            load.stop()

    await asyncio.wait_for(load.run(CLIENTS, on_answer=on_answer), PATIENCE_SECONDS)
    wait_until(partial(has_two_workers, server), seconds=PATIENCE_SECONDS, what="the dead worker is replaced")
    assert set(server.workers) & set(before) == set(before) - {victim}
    return load
