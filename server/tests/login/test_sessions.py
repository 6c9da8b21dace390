from dataclasses import replace

import pytest

from authserver.config.secret import Secret
from authserver.config.sections.listeners import SessionConfig
from authserver.login.records import LoginSession
from authserver.login.sessions import Sessions, describe_account, is_cross_site
from authserver.login.site import Site
from authserver.storage.database import Database, StorageUnavailable
from authserver.storage.postgres import PoolLimits, PostgresDatabase
from authserver.users.records import Account, User, UserStatus
from authserver.users.store import find_user, raise_session_epoch, update_user
from authserver.web.http import HttpRequest
from server.tests.login.builders import a_user
from server.tests.web.builders import a_request

pytestmark = pytest.mark.anyio


ID = "0123456789abcdef"


def with_cookie(value: str) -> HttpRequest:
    return a_request(headers=((b"cookie", b"authserver_session=" + value.encode()),))


def value_of(sessions: Sessions, user: User, *, now: int) -> str:
    return sessions.issue(user, now=now)[1].decode().partition(";")[0].partition("=")[2]


async def test_a_signed_in_user_is_found_until_the_session_expires(sessions: Sessions, user: User, now: int) -> None:
    request = with_cookie(value_of(sessions, user, now=now))
    found = await sessions.find(request, now=now + 86399)
    assert found is not None
    session = LoginSession(
        user_id=user.id, epoch=0, sign_in_id=found[0].sign_in_id, authenticated_at=now, expires_at=now + 86400
    )
    assert found == (session, Account(user.id, user.email, user.name))
    assert await sessions.find(request, now=now + 86400) is None


async def test_two_sign_ins_of_one_second_can_be_told_apart(sessions: Sessions, user: User, now: int) -> None:
    assert value_of(sessions, user, now=now) != value_of(sessions, user, now=now)


async def test_the_cookie_is_for_the_server_alone(sessions: Sessions, user: User, now: int) -> None:
    name, value = sessions.issue(user, now=now)
    assert name == b"set-cookie"
    assert value.startswith(b"authserver_session=user-1|0|")
    assert value.endswith(b"; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax")
    assert sessions.clear() == (
        b"set-cookie",
        b"authserver_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
    )


async def test_nobody_is_signed_in_by_an_altered_cookie(sessions: Sessions, user: User, now: int) -> None:
    value = value_of(sessions, user, now=now)
    for position in range(len(value)):
        altered = value[:position] + chr(ord(value[position]) ^ 1) + value[position + 1 :]
        assert await sessions.find(with_cookie(altered), now=now) is None, altered


@pytest.mark.parametrize(
    "value",
    ["", "|", "||||", f"user-1|0|{ID}|1790000000|1790000100", f"user-1|0|{ID}|1790000000|1790000100|", "\xff|0|9|x"],
)
async def test_nobody_is_signed_in_by_a_made_up_cookie(sessions: Sessions, user: User, now: int, value: str) -> None:
    assert await sessions.find(with_cookie(value), now=now) is None


async def test_another_secret_signs_nobody_in(
    db: Database, sessions: Sessions, site: Site, user: User, now: int
) -> None:
    others = Sessions(db, SessionConfig(secret=Secret("another secret")), site=site)
    assert await sessions.find(with_cookie(value_of(others, user, now=now)), now=now) is None


async def test_a_user_who_is_not_there_is_not_signed_in(sessions: Sessions, user: User, now: int) -> None:
    stranger = a_user(id="user-2")
    assert await sessions.find(with_cookie(value_of(sessions, stranger, now=now)), now=now) is None


async def test_a_session_ends_when_its_user_is_disabled(db: Database, sessions: Sessions, user: User, now: int) -> None:
    request = with_cookie(value_of(sessions, user, now=now))
    await db.write(lambda tx: update_user(tx, replace(user, status=UserStatus.DISABLED)))
    assert await sessions.find(request, now=now) is None


async def test_raising_the_epoch_ends_every_session_of_before(
    db: Database, sessions: Sessions, user: User, now: int
) -> None:
    request = with_cookie(value_of(sessions, user, now=now))
    await db.write(lambda tx: raise_session_epoch(tx, user.id, now=now))
    assert await sessions.find(request, now=now) is None
    after = await find_user(db, user.id)
    assert after is not None
    assert await sessions.find(with_cookie(value_of(sessions, after, now=now)), now=now) is not None


async def test_a_cookie_that_is_no_longer_good_is_taken_back(sessions: Sessions) -> None:
    assert sessions.clear_if_sent(with_cookie("old")) == (sessions.clear(),)
    assert sessions.clear_if_sent(a_request()) == ()


@pytest.fixture
async def away(postgres_template: str) -> Database:
    """A database that no longer answers."""
    database = await PostgresDatabase.open(postgres_template, PoolLimits(min_conns=0))
    await database.close()
    return database


@pytest.mark.parametrize("fail_closed", [True, False])
async def test_an_outage_ends_the_session_or_the_request_as_configured(
    away: Database, site: Site, now: int, *, fail_closed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions = Sessions(away, SessionConfig(secret=Secret("a secret"), fail_closed=fail_closed), site=site)
    request = with_cookie(value_of(sessions, a_user(), now=now))
    if fail_closed:
        assert await sessions.find(request, now=now) is None
    else:
        with pytest.raises(StorageUnavailable):
            await sessions.find(request, now=now)
    line = capsys.readouterr().err
    assert '"msg":"session: user existence check failed"' in line
    assert f'"fail_mode":"{"closed" if fail_closed else "open"}","user_id":"user-1"' in line


async def test_a_form_is_known_by_session_and_subject(sessions: Sessions, user: User, now: int) -> None:
    request = with_cookie(value_of(sessions, user, now=now))
    other_session = with_cookie(value_of(sessions, user, now=now + 1))
    token = sessions.csrf_token(request, "form-1")
    assert sessions.is_own_form(request, "form-1", token)
    assert not sessions.is_own_form(request, "form-2", token)
    assert not sessions.is_own_form(other_session, "form-1", token)
    assert not sessions.is_own_form(a_request(), "form-1", token)
    assert not sessions.is_own_form(request, "form-1", None)
    foreign = a_request(headers=(*request.headers, (b"sec-fetch-site", b"cross-site")))
    assert not sessions.is_own_form(foreign, "form-1", token)


@pytest.mark.parametrize(
    ("origin", "fetch_site", "is_foreign"),
    [
        (None, None, False),
        (None, b"same-origin", False),
        (None, b"none", False),
        (b"null", None, False),
        (b"null", b"same-origin", False),
        (b"null", b"same-site", True),
        (b"null", b"cross-site", True),
        (b"https://auth.example.com", None, False),
        (b"https://auth.example.com", b"same-origin", False),
        (b"https://auth.example.com", b"cross-site", True),
        (b"https://auth.example.com.evil.example", None, True),
        (b"http://auth.example.com", b"same-origin", True),
        (None, b"cross-site", True),
    ],
)
async def test_who_sent_a_form_is_told_by_the_browser(
    site: Site, origin: bytes | None, fetch_site: bytes | None, *, is_foreign: bool
) -> None:
    pairs = ((b"origin", origin), (b"sec-fetch-site", fetch_site))
    headers = tuple((name, value) for name, value in pairs if value is not None)
    assert is_cross_site(a_request(method="POST", headers=headers), site) is is_foreign


async def test_an_account_is_called_by_what_its_owner_knows() -> None:
    assert describe_account(a_user()) == "ann@example.com"
    assert describe_account(a_user(email=None)) == "Ann"
    assert describe_account(a_user(email=None, name="")) == "user-1"
