"""The wall clock of a running server stepped, an hour forth and an hour back: clean refusals, nothing spent twice.

What ends by the wall clock ends early or late by as much as the step: codes, tokens, sessions, remembered retries. What was
spent stays spent, whatever the time, as its row stays; only a purge that runs while the clock is ahead takes it for expired.
"""

import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.harness.clock import WallClock
from e2e.harness.installation import TWO_WORKERS, Installation
from e2e.harness.load import PATIENCE_SECONDS, Load
from e2e.harness.processes import Process
from e2e.harness.proof_key import ProofKey
from e2e.harness.site import LOAD_ENVIRONMENT, Site, prepared_site

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("installation", ["sqlite", TWO_WORKERS], indirect=True, scope="module"),
]

HOUR = 3600
STEPS = (HOUR, 0, -HOUR, 0)
CLIENTS = 8
ANSWERS_EACH = 45
# Between the taking of the time here and there.
UNEVEN = 60


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """All load comes from one address; tokens outlive the steps."""
    lifetimes = {"AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY": "3h"}
    return server_environment | LOAD_ENVIRONMENT | lifetimes


@pytest.fixture(scope="module")
def site(installation: Installation) -> Iterator[Site]:
    with prepared_site(installation) as site:
        yield site


@pytest.fixture(scope="module")
def clock(installation: Installation) -> WallClock:
    return WallClock(installation.directory)


@pytest.fixture(scope="module")
def server(site: Site, clock: WallClock) -> Iterator[Process]:
    """The server, to which no one attends while its clock is stepped."""
    with site.installation.serve(environment=clock.environment) as process:
        workers = set(process.workers)
        yield process
        assert set(process.workers) == workers
        assert '"level":"ERROR"' not in process.output
        assert "Traceback" not in process.output


@contextmanager
def stepped(clock: WallClock, offset: int) -> Iterator[None]:
    """Have the server's clock elsewhere for a while."""
    clock.step_to(offset)
    try:
        yield
    finally:
        clock.step_to(0)


def check_refusal(answer: httpx2.Response) -> None:
    """Tolerate that a code is too old for a clock that went forth."""
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text


async def test_load_goes_on_through_every_step_and_nothing_is_lost_or_spent_twice(
    server: Process, site: Site, clock: WallClock
) -> None:
    load = Load(site.client, site.person, tolerates=check_refusal, insists=False)
    steps = iter(STEPS)

    def on_answer(answered: int) -> None:
        if answered % ANSWERS_EACH:
            return
        offset = next(steps, None)
        if offset is None:
            load.stop()
        else:
            clock.step_to(offset)

    await load.run(CLIENTS, on_answer=on_answer)
    assert load.lost == 0
    assert load.answered >= ANSWERS_EACH * (len(STEPS) + 1)
    # Of a code that was refused, or got just before the end, nobody knows whether it is good still.
    await site.check([session for session in load.sessions if session.answers])


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_tokens_issued_after_a_step_say_the_new_time_and_verify(
    server: Process, site: Site, clock: WallClock, offset: int
) -> None:
    before = site.client.request_token(site.client.redemption(site.client.get_code(site.person))).json()
    keys = httpx2.get(f"{site.client.issuer}/.well-known/jwks.json").json()
    with stepped(clock, offset):
        code = site.client.get_code(site.person)
        redeemed = site.client.request_token(site.client.redemption(code)).json()
        refreshed = site.client.request_token(site.client.refresh(before["refresh_token"])).json()
        again = site.client.request_token(site.client.refresh(redeemed["refresh_token"])).json()
        for tokens in (redeemed, refreshed, again):
            claims = verified(tokens["access_token"], keys)
            assert abs(claims["iat"] - (time.time() + offset)) < UNEVEN
            assert claims["exp"] - claims["iat"] == tokens["expires_in"]
            assert is_active(site, tokens["access_token"])
    # And by the next clock: what was issued in between is as good as what was issued before.
    for tokens in (before, redeemed, refreshed, again):
        assert is_active(site, tokens["access_token"])
    for tokens in (refreshed, again):
        assert site.client.request_token(site.client.refresh(tokens["refresh_token"])).status_code == 200


def verified(token: str, keys: dict[str, list[dict[str, str]]]) -> dict[str, int]:
    """Return the claims of a token, whose signature is good."""
    claims: dict[str, int] = jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(token)["kid"]],
        algorithms=["ES256"],
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
    )
    return claims


def is_active(site: Site, token: str) -> bool:
    answer = httpx2.post(f"{site.client.issuer}/oauth/introspect", data={"token": token}, auth=site.resource_client)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def check_spent_for_good(clock: WallClock, ask: Callable[[], httpx2.Response], *, refusal: tuple[int, str]) -> None:
    """Check that what works once does not work again, at any time."""
    first = ask()
    assert first.status_code == 200, first.text
    for offset in (*STEPS, *reversed(STEPS), 0):
        clock.step_to(offset)
        answer = ask()
        assert (answer.status_code, answer.json()["error"]) == refusal, f"at {offset:+d} s: {answer.text}"


def test_a_proof_that_was_used_is_not_good_again_at_any_time(server: Process, site: Site, clock: WallClock) -> None:
    machine, key = site.installation.create_machine("notes:read"), ProofKey()
    proof = key.proof(f"{site.client.issuer}/oauth/token")
    check_spent_for_good(
        clock,
        lambda: httpx2.post(
            f"{site.client.issuer}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(machine.client_id, machine.secret or ""),
            headers={"dpop": proof},
            timeout=PATIENCE_SECONDS,
        ),
        refusal=(400, "invalid_dpop_proof"),
    )


def test_an_assertion_that_was_used_is_not_good_again_at_any_time(
    server: Process, site: Site, clock: WallClock
) -> None:
    key, now = ec.generate_private_key(ec.SECP256R1()), int(time.time())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    machine = site.installation.create_machine("notes:read", auth_method="private_key_jwt", jwks={"keys": [jwk]})
    names = {"iss": machine.client_id, "sub": machine.client_id, "aud": site.client.issuer}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode(
            {**names, "iat": now, "exp": now + 240, "jti": str(uuid.uuid4())}, key, algorithm="ES256"
        ),
    }
    check_spent_for_good(clock, lambda: site.client.request_token(form), refusal=(401, "invalid_client"))


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_a_code_and_a_refresh_token_that_were_used_are_a_replay_at_any_time(
    server: Process, site: Site, clock: WallClock, offset: int
) -> None:
    code = site.client.get_code(site.person)
    tokens = site.client.request_token(site.client.redemption(code)).json()
    other = site.client.request_token(site.client.redemption(site.client.get_code(site.person))).json()
    successor = site.client.request_token(site.client.refresh(other["refresh_token"])).json()
    with stepped(clock, offset):
        forms = (site.client.redemption(code), site.client.refresh(other["refresh_token"]))
        for form in forms:
            answer = site.client.request_token(form)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), answer.text
    # Their families ended with that.
    for ended in (tokens, successor):
        assert not is_active(site, ended["access_token"])
        assert site.client.request_token(site.client.refresh(ended["refresh_token"])).status_code == 400


def test_a_code_ends_by_the_wall_clock_and_its_refusal_spends_nothing(
    server: Process, site: Site, clock: WallClock
) -> None:
    code = site.client.get_code(site.person)
    with stepped(clock, HOUR):
        answer = site.client.request_token(site.client.redemption(code))
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert answer.json()["reference"].startswith("ref_")
    assert site.client.request_token(site.client.redemption(code)).status_code == 200


def test_a_registration_and_a_sign_in_work_at_any_time(server: Process, site: Site, clock: WallClock) -> None:
    for offset in (HOUR, -HOUR, 0):
        clock.step_to(offset)
        registered = httpx2.post(
            f"{site.client.issuer}/oauth/register",
            json={"client_name": secrets.token_hex(4), "redirect_uris": ["http://127.0.0.1/callback"]},
        )
        assert registered.status_code == 201, registered.text
        assert httpx2.get(f"{site.client.issuer}/health").status_code == 200
