"""Two server processes on one database: one SQLite file, one PostgreSQL."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.harness.inspection import Inspection
from e2e.harness.installation import DEVICE_GRANTS, Demo, Installation, found
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port, wait_until
from e2e.harness.proof_key import ProofKey

pytestmark = pytest.mark.anyio

AT_ONCE = 50
# Two and five on a machine of one's own.
OBEYED_WITHIN_SECONDS = 10
NEW_KEY_SIGNS_WITHIN_SECONDS = 30
REQUEST_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes of one installation; the first listens where the issuer says."""

    first: str
    second: str

    @property
    def origins(self) -> tuple[str, str]:
        return self.first, self.second


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """All load comes from one address here."""
    return server_environment | {"AUTHPLANE_RATE_LIMIT_ENABLED": "false"}


@pytest.fixture(scope="module")
def pair(installation: Installation, server: Process) -> Iterator[Pair]:
    """The running server and a second process beside it."""
    port = free_port()
    with installation.serve(port=port):
        yield Pair(installation.issuer, f"http://127.0.0.1:{port}")


@pytest.fixture
def client(installation: Installation, demo: Demo) -> OAuthClient:
    return OAuthClient(installation.issuer, resource=demo.url)


def is_active(pair: Pair, demo: Demo, token: str) -> bool:
    """Ask the second process about a token, as the protected server would."""
    answer = httpx2.post(
        f"{pair.second}/oauth/introspect", data={"token": token}, auth=(demo.client_id, demo.client_secret)
    )
    assert answer.status_code == 200, answer.text
    active = answer.json()["active"]
    assert isinstance(active, bool)
    return active


async def at_once(pair: Pair, form: dict[str, str], *, proof: str | None = None) -> list[httpx2.Response]:
    """Send the same form fifty times at once, half to each process; with the same proof of possession if there is one."""
    headers = {"DPoP": proof} if proof else {}
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with httpx2.AsyncClient(timeout=REQUEST_SECONDS, limits=limits) as http:
        # Connections first: the requests then leave together.
        await asyncio.gather(*(http.get(f"{pair.origins[n % 2]}/livez") for n in range(AT_ONCE)))
        sent = (http.post(f"{pair.origins[n % 2]}/oauth/token", data=form, headers=headers) for n in range(AT_ONCE))
        return list(await asyncio.gather(*sent))


async def test_one_of_fifty_redemptions_wins_and_the_replays_revoke_its_family(
    pair: Pair, demo: Demo, client: OAuthClient, person: Person
) -> None:
    answers = await at_once(pair, client.redemption(client.get_code(person)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: AT_ONCE - 1}
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert not is_active(pair, demo, winner["access_token"])
    refused = client.request_token(client.refresh(winner["refresh_token"]))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_one_of_fifty_polls_of_a_device_wins(
    installation: Installation, pair: Pair, demo: Demo, person: Person
) -> None:
    client_id = installation.create_device_client()
    form = {"client_id": client_id, "resource": demo.url}
    device = httpx2.post(f"{pair.second}/oauth/device_authorization", data=form).json()
    poll = {"grant_type": DEVICE_GRANTS[0], "client_id": client_id, "device_code": device["device_code"]}
    waiting = await at_once(pair, poll)
    assert Counter(answer.json()["error"] for answer in waiting) == {
        "authorization_pending": 1,
        "slow_down": AT_ONCE - 1,
    }
    person.connect(device["verification_uri_complete"])
    answers = await at_once(pair, poll)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: AT_ONCE - 1}
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert not is_active(pair, demo, winner["access_token"])


async def test_fifty_refreshes_of_one_token_all_get_the_same_answer(
    pair: Pair, demo: Demo, client: OAuthClient, person: Person
) -> None:
    tokens = client.request_token(client.redemption(client.get_code(person))).json()
    answers = await at_once(pair, client.refresh(tokens["refresh_token"]))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert is_active(pair, demo, answers[0].json()["access_token"])


async def test_what_the_command_line_withdraws_is_withdrawn_at_the_next_request_of_both_processes(
    installation: Installation, pair: Pair, demo: Demo, client: OAuthClient, person: Person
) -> None:
    tokens = client.request_token(client.redemption(client.get_code(person))).json()
    refresh = client.refresh(tokens["refresh_token"])
    inspector, secret = installation.create_resource_client()

    def introspect(origin: str) -> int:
        form = {"token": tokens["access_token"]}
        return httpx2.post(f"{origin}/oauth/introspect", data=form, auth=(inspector, secret)).status_code

    # Both processes have just looked at these rows. Suspended and let back in again and again: no look may be the last one.
    for _ in range(3):
        assert is_active(pair, demo, tokens["access_token"])
        assert [introspect(origin) for origin in pair.origins] == [200, 200]
        for name in (client.client_id, inspector):
            installation.run("admin", "client", "suspend", "--id", name)
        assert not is_active(pair, demo, tokens["access_token"])
        assert [introspect(origin) for origin in pair.origins] == [401, 401]
        refused = [client.request_token(refresh, origin=origin) for origin in pair.origins]
        assert [(answer.status_code, answer.json()["error"]) for answer in refused] == [(401, "invalid_client")] * 2
        for name in (client.client_id, inspector):
            installation.run("admin", "client", "reactivate", "--id", name)
    assert client.request_token(refresh).status_code == 200

    old = secret
    printed = installation.run("admin", "client", "rotate-secret", "--id", inspector)
    assert [introspect(origin) for origin in pair.origins] == [401, 401]
    secret = found(r"client_secret=(\S+)", printed)
    assert secret != old
    assert [introspect(origin) for origin in pair.origins] == [200, 200]


def an_assertion(issuer: str, client_id: str, key: ec.EllipticCurvePrivateKey) -> str:
    now = int(time.time())
    claims = {"iss": client_id, "sub": client_id, "aud": issuer, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
    return jwt.encode(claims, key, algorithm="ES256")


async def test_an_assertion_sent_to_both_processes_at_once_is_taken_by_one(
    installation: Installation, pair: Pair
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    registration = {
        "client_name": "Signs",
        "redirect_uris": ["https://client.example/cb"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [jwk]},
    }
    client_id = httpx2.post(f"{installation.issuer}/oauth/register", json=registration).json()["client_id"]
    for _ in range(10):
        form = {
            "grant_type": "refresh_token",
            "refresh_token": "unknown",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": an_assertion(installation.issuer, client_id, key),
        }
        answers = await at_once(pair, form)
        # Whoever is let in is told that the token is none.
        assert Counter((answer.status_code, answer.json()["error"]) for answer in answers) == {
            (400, "invalid_grant"): 1,
            (401, "invalid_client"): AT_ONCE - 1,
        }


async def test_an_assertion_of_a_machine_sent_to_both_processes_at_once_buys_one_token(
    installation: Installation, pair: Pair
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    machine = installation.create_machine("notes:read", auth_method="private_key_jwt", jwks={"keys": [jwk]})
    for _ in range(5):
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": an_assertion(installation.issuer, machine.client_id, key),
        }
        answers = await at_once(pair, form)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 401: AT_ONCE - 1}
        refused = [answer.json() for answer in answers if answer.status_code == 401]
        assert {body["error"] for body in refused} == {"invalid_client"}
    counting = f"SELECT count(*) FROM issuances WHERE client_id = '{machine.client_id}'"
    ((counted,),) = await Inspection(installation.environment).rows(counting)
    assert counted[0] == 5


async def test_a_proof_sent_to_both_processes_at_once_buys_one_token(installation: Installation, pair: Pair) -> None:
    machine, key = installation.create_machine("notes:read", auth_method="client_secret_post"), ProofKey()
    named = {"client_id": machine.client_id, "client_secret": machine.secret or ""}
    for _ in range(5):
        proof = key.proof(f"{installation.issuer}/oauth/token")
        answers = await at_once(pair, {"grant_type": "client_credentials", **named}, proof=proof)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 400: AT_ONCE - 1}
        refused = [answer.json()["error"] for answer in answers if answer.status_code == 400]
        assert set(refused) == {"invalid_dpop_proof"}
    counting = f"SELECT count(*) FROM issuances WHERE client_id = '{machine.client_id}'"
    ((counted,),) = await Inspection(installation.environment).rows(counting)
    assert counted[0] == 5


async def test_a_proof_that_is_sent_again_with_its_code_redeems_once_and_revokes_nothing(
    pair: Pair, demo: Demo, client: OAuthClient, person: Person
) -> None:
    key = ProofKey()
    proof = key.proof(f"{client.issuer}/oauth/token")
    answers = await at_once(pair, client.redemption(client.get_code(person)), proof=proof)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: AT_ONCE - 1}
    refused = Counter(answer.json()["error"] for answer in answers if answer.status_code == 400)
    assert refused == {"invalid_dpop_proof": AT_ONCE - 1}
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert is_active(pair, demo, winner["access_token"])
    proof = key.proof(f"{client.issuer}/oauth/token")
    refreshed = await at_once(pair, client.refresh(winner["refresh_token"]), proof=proof)
    assert Counter(answer.status_code for answer in refreshed) == {200: 1, 400: AT_ONCE - 1}
    assert {answer.json()["error"] for answer in refreshed if answer.status_code == 400} == {"invalid_dpop_proof"}
    winner = next(answer.json() for answer in refreshed if answer.status_code == 200)
    assert is_active(pair, demo, winner["access_token"])


def keys_of(origin: str) -> dict[str, jwt.PyJWK]:
    """Return the keys a process publishes."""
    published = httpx2.get(f"{origin}/.well-known/jwks.json").json()["keys"]
    return {key["kid"]: jwt.PyJWK.from_dict(key) for key in published}


async def test_a_key_rotated_by_the_command_line_is_obeyed_and_no_token_fails_to_verify(
    installation: Installation, pair: Pair, client: OAuthClient, person: Person
) -> None:
    refresh_token = client.request_token(client.redemption(client.get_code(person))).json()["refresh_token"]
    kid = found(r"\bkid=(\S+)", installation.run("admin", "key", "rotate"))
    rotated_at = time.monotonic()
    signed_by: dict[str, str] = {}
    while set(signed_by) != set(pair.origins) or set(signed_by.values()) != {kid}:
        elapsed = time.monotonic() - rotated_at
        assert elapsed < NEW_KEY_SIGNS_WITHIN_SECONDS, f"signed by {signed_by}, rotated to {kid}"
        for origin in pair.origins:
            published = {place: keys_of(place) for place in pair.origins}
            if elapsed > OBEYED_WITHIN_SECONDS:
                assert all(kid in keys for keys in published.values())
            tokens = client.request_token(client.refresh(refresh_token), origin=origin).json()
            refresh_token = tokens["refresh_token"]
            header = jwt.get_unverified_header(tokens["access_token"])
            signed_by[origin] = header["kid"]
            for keys in published.values():  # as fetched before the token existed: a cache as fresh as can be
                jwt.decode(
                    tokens["access_token"],
                    keys[header["kid"]],
                    algorithms=[header["alg"]],
                    audience=client.resource,
                    issuer=client.issuer,
                )


async def test_what_was_answered_survives_a_kill_in_the_middle_of_load(
    installation: Installation, pair: Pair, demo: Demo, client: OAuthClient, person: Person
) -> None:
    port = free_port()
    victim = installation.serve(port=port)
    families = [client.request_token(client.redemption(client.get_code(person))).json() for _ in range(8)]
    newest = {n: tokens["refresh_token"] for n, tokens in enumerate(families)}
    answered: list[str] = []

    async def keep_refreshing(n: int, http: httpx2.AsyncClient) -> None:
        while True:
            try:
                answer = await http.post(f"http://127.0.0.1:{port}/oauth/token", data=client.refresh(newest[n]))
            except httpx2.HTTPError:
                return  # killed: this request was never answered
            assert answer.status_code == 200, answer.text
            newest[n] = answer.json()["refresh_token"]
            answered.append(answer.json()["access_token"])
            if len(answered) == 100:
                victim.kill()

    async with httpx2.AsyncClient(timeout=REQUEST_SECONDS) as http:
        await asyncio.gather(*(keep_refreshing(n, http) for n in newest))
    assert len(answered) >= 100
    with installation.serve(port=port):
        for token in answered[-20:]:
            assert is_active(pair, demo, token)
        for refresh_token in newest.values():
            # Its successor may be committed though the answer was lost: then this is a retry, and answered as one.
            again = client.request_token(client.refresh(refresh_token), origin=f"http://127.0.0.1:{port}")
            assert again.status_code == 200, again.text


def both_advertise_registration(pair: Pair, *, expected: bool) -> bool:
    """Whether the metadata of both processes has a registration endpoint, or of both has none."""
    documents = [httpx2.get(f"{origin}/.well-known/oauth-authorization-server").json() for origin in pair.origins]
    return all(("registration_endpoint" in document) == expected for document in documents)


async def test_a_change_of_registration_mode_reaches_both_processes(installation: Installation, pair: Pair) -> None:
    for mode, expected in (("admin_only", False), ("open", True)):
        installation.run("admin", "dcr", "set", "--mode", mode)
        wait_until(
            partial(both_advertise_registration, pair, expected=expected),
            seconds=OBEYED_WITHIN_SECONDS,
            what=f"mode {mode} is obeyed",
        )
