import asyncio

import pytest

from authserver.login.local import LocalLogin, LockedOut
from authserver.storage.database import Database
from authserver.telemetry.metrics import REGISTRY
from authserver.users.records import User, UserProvider, UserStatus
from authserver.users.store import find_user
from server.tests.login.builders import PASSWORD, a_user, insert

pytestmark = pytest.mark.anyio

SOMEWHERE = "192.0.2.7"


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def rows(db: Database) -> list[tuple[str, str, str]]:
    found = await db.fetch_all("SELECT action, actor_id, detail FROM audit_events ORDER BY id")
    return [(row["action"], row["actor_id"], row["detail"]) for row in found]


async def test_the_right_password_signs_in(db: Database, login: LocalLogin, user: User, now: int) -> None:
    before = count("authserver_login_attempts_total", result="success")
    found = await login.sign_in(" ANN@example.com ", PASSWORD, client_address=SOMEWHERE, now=now)
    assert found == user
    assert await rows(db) == [("user.login", "user-1", "")]
    assert count("authserver_login_attempts_total", result="success") == before + 1


async def test_a_hash_of_old_parameters_is_made_anew(db: Database, login: LocalLogin, user: User, now: int) -> None:
    await login.sign_in("ann@example.com", PASSWORD, client_address=SOMEWHERE, now=now)
    after = await find_user(db, user.id)
    assert after is not None
    assert after.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await login.sign_in("ann@example.com", PASSWORD, client_address=SOMEWHERE, now=now) is not None


@pytest.mark.parametrize(
    ("email", "password", "reason", "actor"),
    [
        ("nobody@example.com", PASSWORD, "user_not_found", ""),
        ("", "", "user_not_found", ""),
        ("ann@example.com", "wrong", "invalid_credentials", "user-1"),
        ("ann@example.com", "", "invalid_credentials", "user-1"),
        ("ann@example.com", "x" * 1025, "invalid_credentials", "user-1"),
        ("disabled@example.com", PASSWORD, "user_disabled", "disabled"),
        ("federated@example.com", PASSWORD, "user_not_local", "federated"),
        ("broken@example.com", PASSWORD, "unusable_stored_hash", "broken"),
    ],
)
async def test_rejected_credentials_are_recorded_with_their_reason(
    db: Database, login: LocalLogin, user: User, now: int, email: str, password: str, reason: str, actor: str
) -> None:
    await insert(
        db,
        a_user(
            id="disabled",
            email="disabled@example.com",
            status=UserStatus.DISABLED,
            password_hash=user.password_hash,
        ),
        a_user(id="federated", email="federated@example.com", provider=UserProvider.OIDC, provider_sub="up"),
        a_user(id="broken", email="broken@example.com", password_hash="plain"),
    )
    failures = count("authserver_login_attempts_total", result="failure")
    denials = count("authserver_auth_denied_total", reason=reason)
    assert await login.sign_in(email, password, client_address=SOMEWHERE, now=now) is None
    assert await rows(db) == [("user.login_failed", actor, f"reason={reason}")]
    assert count("authserver_login_attempts_total", result="failure") == failures + 1
    assert count("authserver_auth_denied_total", reason=reason) == denials + 1


async def test_the_eleventh_guess_is_not_looked_at_even_with_the_right_password(
    db: Database, login: LocalLogin, user: User, now: int, clock: list[float]
) -> None:
    for _ in range(10):
        assert await login.sign_in("ann@example.com", "wrong", client_address=SOMEWHERE, now=now) is None
    clock[0] += 60
    with pytest.raises(LockedOut) as refusal:
        await login.sign_in("ann@example.com", PASSWORD, client_address=SOMEWHERE, now=now)
    assert refusal.value.retry_after == 840
    recorded = await rows(db)
    assert [action for action, _, _ in recorded] == ["user.login_failed"] * 10 + ["auth.locked_out"]
    assert recorded[-1] == ("auth.locked_out", "user-1", "until=2026-09-21T14:28:20Z")
    assert await login.sign_in("ann@example.com", PASSWORD, client_address="192.0.2.8", now=now) == user
    clock[0] += 840
    assert await login.sign_in("ann@example.com", PASSWORD, client_address=SOMEWHERE, now=now) is not None


async def test_guessing_in_parallel_gains_nothing(db: Database, login: LocalLogin, user: User, now: int) -> None:
    async def guess() -> str:
        try:
            await login.sign_in("ann@example.com", "wrong", client_address=SOMEWHERE, now=now)
        except LockedOut:
            return "locked"
        return "looked at"

    outcomes = await asyncio.gather(*(guess() for _ in range(50)))
    assert outcomes.count("looked at") == 10
