"""Devices without a browser: strict client libraries on one side, a person on the other."""

from collections.abc import Iterator
from contextlib import contextmanager

import jwt
import pytest

from e2e.harness.identity import WAYS
from e2e.harness.installation import DEVICE_GRANTS, Account, Demo, Installation
from e2e.harness.metadata_document import Authority, metadata_document
from e2e.harness.person import Person
from e2e.harness.program import Program

SCOPE = "notes:read notes:write"


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """A library polls as often as it may: here, each second."""
    return server_environment | {"AUTHPLANE_DEVICE_INTERVAL": "1s"}


@pytest.fixture
def account(installation: Installation) -> Account:
    """Somebody new each time: one user may enter few codes."""
    return installation.create_user()


@pytest.fixture(params=["openid-client", "oauth4webapi"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def known_by(way: str, *, installation: Installation, authority: Authority) -> Iterator[str | None]:
    """Make a client known that has no redirect URI; yield its identifier, or None if it registers itself."""
    if way == "names its document":
        members = {"grant_types": DEVICE_GRANTS}
        with metadata_document(authority, redirect_uris=[], name="Television", members=members) as url:
            yield url
    elif way == "was registered before":
        yield installation.create_device_client()
    else:
        yield None


@pytest.fixture(params=WAYS)
def device(
    request: pytest.FixtureRequest, library: str, installation: Installation, demo: Demo, authority: Authority
) -> Iterator[Program]:
    """A program on a device: either library, every way of becoming known."""
    with known_by(request.param, installation=installation, authority=authority) as client_id:
        options = {
            "library": library,
            "issuer": installation.issuer,
            "resource": demo.url,
            "scope": SCOPE,
            "clientId": client_id,
            "grantTypes": DEVICE_GRANTS,
        }
        with Program("node/libraries.mjs", options) as client:
            yield client


def test_a_device_waits_for_its_user_gets_tokens_and_refreshes(
    device: Program, library: str, person: Person, demo: Demo
) -> None:
    started = device.do("device")["device"]
    assert started["interval"] == 1
    if library == "oauth4webapi":
        waiting = device.do("collect")
        assert (waiting["oauth"], waiting["status"]) == ("authorization_pending", 400)
    shown = person.connect(started["verification_uri"], user_code=started["user_code"])
    assert "You may return to your device" in shown
    answer = device.do("collect")
    assert "tokens" in answer, answer
    claims = jwt.decode(answer["tokens"]["access_token"], options={"verify_signature": False})
    assert claims["aud"] == [demo.url]
    assert set(claims["scope"].split()) == set(SCOPE.split())
    assert device.do("refresh")["tokens"]["access_token"] != answer["tokens"]["access_token"]


def test_a_device_understands_that_its_user_said_no(device: Program, person: Person) -> None:
    started = device.do("device")["device"]
    person.connect(started["verification_uri_complete"], action="deny")
    denied = device.do("collect")
    assert (denied["oauth"], denied["status"]) == ("access_denied", 400)
