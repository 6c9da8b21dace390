"""The parts of signing in, wired as the server wires them."""

import itertools
from collections.abc import Callable

import argon2
import pytest

from authserver.audit.trail import AuditTrail
from authserver.config.secret import Secret
from authserver.config.sections.listeners import RateLimitConfig, SessionConfig
from authserver.login.local import LocalLogin
from authserver.login.lockout import Lockout
from authserver.login.nonces import LoginNonces
from authserver.login.routes import LoginPages
from authserver.login.sessions import Sessions
from authserver.login.site import Site, site_of
from authserver.storage.database import Database, Writer
from authserver.users.accounts import Accounts, UserTokens
from authserver.users.passwords import Passwords
from authserver.users.records import User
from server.tests.login.builders import PASSWORD, Browser, a_user, insert


@pytest.fixture(scope="session")
def password_hash() -> str:
    """As stored by an older release, with parameters that are cheap."""
    return argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)


@pytest.fixture
async def user(db: Database, password_hash: str) -> User:
    """Ann, who is there and active."""
    ann = a_user(password_hash=password_hash)
    await insert(db, ann)
    return ann


@pytest.fixture
def site() -> Site:
    return site_of("https://auth.example.com")


@pytest.fixture
def session_config() -> SessionConfig:
    return SessionConfig(secret=Secret("a secret of the tests"), secure=True)


@pytest.fixture
def sessions(db: Database, session_config: SessionConfig, site: Site) -> Sessions:
    return Sessions(db, session_config, site=site)


@pytest.fixture
def clock() -> list[float]:
    """The monotonic clock of the lockout: one number, which tests set."""
    return [1000.0]


@pytest.fixture
def trail(db: Database, now: int) -> AuditTrail:
    milliseconds = itertools.count(now * 1000)
    return AuditTrail(db, lambda: next(milliseconds))


@pytest.fixture
def lockout(clock: list[float]) -> Lockout:
    return Lockout(RateLimitConfig(), clock=lambda: clock[0])


@pytest.fixture
async def login(db: Database, trail: AuditTrail, lockout: Lockout) -> LocalLogin:
    async def has_live(_tx: Writer, _user_id: str, _now: int) -> bool:
        return False

    async def revoke_all(_tx: Writer, _user_id: str, _now: int) -> int:
        return 0

    accounts = Accounts(db, trail, Passwords(), UserTokens(has_live=has_live, revoke_all=revoke_all))
    return LocalLogin(db, accounts, trail, lockout)


@pytest.fixture
def make_pages(
    login: LocalLogin, sessions: Sessions, session_config: SessionConfig, now: int
) -> Callable[[Site], LoginPages]:
    def make(site: Site) -> LoginPages:
        nonces = LoginNonces(session_config, site=site)
        return LoginPages(login, sessions, nonces, site=site, clock=lambda: now)

    return make


@pytest.fixture
def browser(make_pages: Callable[[Site], LoginPages], site: Site) -> Browser:
    return Browser(make_pages(site))


@pytest.fixture
def make_browser(make_pages: Callable[[Site], LoginPages], site: Site) -> Callable[[], Browser]:
    return lambda: Browser(make_pages(site))
