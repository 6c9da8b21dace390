import base64
import hashlib
import hmac

import bcrypt
import pytest

from authserver.clients.secrets import ClientSecrets
from authserver.config.secret import Secret

pytestmark = pytest.mark.anyio

PEPPERED = ClientSecrets(Secret("a pepper of some length"))
PLAIN = ClientSecrets(Secret(""))
BCRYPT = bcrypt.hashpw(b"s3cret", b"$2b$04$abcdefghijklmnopqrstuu").decode()  # fixed: it names test cases


def test_with_a_pepper_the_hash_is_keyed() -> None:
    digest = hmac.digest(b"a pepper of some length", b"s3cret", hashlib.sha256)
    assert PEPPERED.hash("s3cret") == "hs256$" + base64.b64encode(digest).decode().rstrip("=")


def test_without_a_pepper_the_hash_is_plain() -> None:
    digest = hashlib.sha256(b"s3cret").digest()
    assert PLAIN.hash("s3cret") == "sha256$" + base64.b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize(
    ("secrets", "stored", "right", "outdated"),
    [
        (PEPPERED, PEPPERED.hash("s3cret"), True, False),
        (PEPPERED, PLAIN.hash("s3cret"), True, True),
        (PEPPERED, BCRYPT, True, True),
        (PLAIN, PEPPERED.hash("s3cret"), False, False),
        (PLAIN, PLAIN.hash("s3cret"), True, False),
        (PLAIN, BCRYPT, True, True),
        (ClientSecrets(Secret("another pepper")), PEPPERED.hash("s3cret"), False, False),
    ],
)
async def test_each_form_is_checked_and_replaced_as_the_setting_asks(
    secrets: ClientSecrets,
    stored: str,
    right: bool,  # noqa: FBT001  a parameter of the test
    outdated: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    assert await secrets.is_right("s3cret", stored) is right
    assert not await secrets.is_right("s3cret ", stored)
    assert secrets.is_outdated(stored) is outdated


@pytest.mark.parametrize("stored", ["", "md5$x", "hs256$", "sha256$", "$2b$04$broken", "s3cret"])
async def test_what_is_no_hash_is_never_right(stored: str) -> None:
    for secret in ("s3cret", ""):
        assert not await PLAIN.is_right(secret, stored)
        assert not await PEPPERED.is_right(secret, stored)


async def test_a_secret_of_any_text_may_be_presented() -> None:
    for secret in ("é" * 100, "\x00", "\ud800", "x" * 100_000):
        assert not await PLAIN.is_right(secret, BCRYPT)
        assert not await PEPPERED.is_right(secret, PEPPERED.hash("s3cret"))


@pytest.mark.parametrize("secrets", [PLAIN, PEPPERED])
def test_no_secret_is_that_of_a_client_that_is_not_there(secrets: ClientSecrets) -> None:
    assert not secrets.is_current("s3cret", "")
    assert not secrets.is_current("", "")
