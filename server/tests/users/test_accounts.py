from dataclasses import replace

import bcrypt
import pytest

from authserver.audit.records import AuditRecord
from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.storage.database import Database, Writer
from authserver.users.accounts import Accounts, UserTokens
from authserver.users.passwords import Passwords
from authserver.users.records import User, UserProvider, UserRole, UserStatus
from authserver.users.store import find_user, find_user_by_email, insert_user, list_users, update_user

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
PASSWORD = "correct horse battery"


class Tokens:
    """The tokens that packages above would know of."""

    def __init__(self) -> None:
        self.live = 0
        self.revoked_of: list[str] = []

    async def has_live(self, _tx: Writer, _user_id: str, _now: int) -> bool:
        return self.live > 0

    async def revoke_all(self, _tx: Writer, user_id: str, _now: int) -> int:
        self.revoked_of.append(user_id)
        revoked, self.live = self.live, 0
        return revoked


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def accounts(db: Database, tokens: Tokens) -> Accounts:
    trail = AuditTrail(db, lambda: NOW * 1000)
    return Accounts(db, trail, Passwords(), UserTokens(has_live=tokens.has_live, revoke_all=tokens.revoke_all))


async def _audit(db: Database) -> list[AuditRecord]:
    return await list_events(db, limit=10)


async def test_a_created_user_is_stored_and_audited(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(
        email="Ada@Example.com", password=PASSWORD, name="Ada", role=UserRole.ADMIN, now=NOW
    )

    assert await find_user(db, user.id) == user
    assert await find_user_by_email(db, "ada@EXAMPLE.com") == user
    assert (user.email, user.role, user.status, user.version) == (
        "Ada@Example.com",
        UserRole.ADMIN,
        UserStatus.ACTIVE,
        1,
    )
    assert user.password_hash.startswith("$argon2id$")
    (event,) = await _audit(db)
    assert (event.action, event.actor_id, event.detail) == ("user.created", "admin", f"user={user.id}")


async def test_an_address_is_taken_in_any_case(accounts: Accounts) -> None:
    await accounts.create_user(email="ada@example.com", password=PASSWORD, now=NOW)

    with pytest.raises(Conflict, match="email is already in use"):
        await accounts.create_user(email="ADA@example.COM", password=PASSWORD, now=NOW)


@pytest.mark.parametrize(
    "email", ["", "ada", "@example.com", "ada@", "a b@example.com", "a@b\n", "a@b\u00a0c", "a" * 250 + "@b.cd"]
)
async def test_what_is_no_address_is_refused(accounts: Accounts, email: str) -> None:
    with pytest.raises(Invalid):
        await accounts.create_user(email=email, password=PASSWORD, now=NOW)


async def test_a_password_has_1_to_1024_bytes(accounts: Accounts) -> None:
    with pytest.raises(Invalid):
        await accounts.create_user(email="a@b", password="", now=NOW)
    with pytest.raises(Invalid):
        await accounts.create_user(email="a@b", password="é" * 513, now=NOW)

    user = await accounts.create_user(email="a@b", password="é" * 512, now=NOW)
    assert (await accounts.verify_password(user, "é" * 512)).accepted


async def test_the_right_password_is_accepted_and_a_wrong_one_is_not(accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)

    assert (await accounts.verify_password(user, PASSWORD)).accepted
    wrong = await accounts.verify_password(user, PASSWORD + "!")
    assert (wrong.accepted, wrong.refusal, wrong.user) == (False, "invalid_credentials", user)
    long = await accounts.verify_password(user, "x" * 1025)
    assert long.refusal == "invalid_credentials"


async def test_every_refusal_has_its_reason_and_takes_one_derivation(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    derivations = 0
    verify = accounts._passwords._verify

    def counted(password: bytes, stored: str) -> bool:
        nonlocal derivations
        derivations += stored.startswith("$argon2id$")
        return verify(password, stored)

    monkeypatch.setattr(accounts._passwords, "_verify", counted)
    cases = {
        "user_not_found": None,
        "user_not_local": replace(user, provider=UserProvider.OIDC, password_hash=""),
        "user_disabled": replace(user, status=UserStatus.DISABLED),
        "unusable_stored_hash": replace(user, password_hash=""),
    }
    for reason, tried in cases.items():
        before = derivations
        assert (await accounts.verify_password(tried, PASSWORD)).refusal == reason
        assert derivations == before + 1


async def test_an_old_hash_is_upgraded_by_a_sign_in(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    old = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await db.write(lambda tx: update_user(tx, replace(user, password_hash=old)))
    stored = await find_user(db, user.id)

    assert (await accounts.verify_password(stored, "wrong")).refusal == "invalid_credentials"
    assert await find_user(db, user.id) == stored
    assert (await accounts.verify_password(stored, PASSWORD)).accepted

    upgraded = await find_user(db, user.id)
    assert upgraded is not None
    assert upgraded.password_hash.startswith("$argon2id$")
    assert (await accounts.verify_password(upgraded, PASSWORD)).accepted


async def test_only_what_is_given_is_changed(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, name="Ada", now=NOW)

    changed = await accounts.update_user(user.id, name="Ada L", now=NOW + 5)

    assert changed == replace(user, name="Ada L", version=2, updated_at=NOW + 5)
    assert await find_user(db, user.id) == changed
    assert "user.updated" in {event.action for event in await _audit(db)}
    assert await accounts.update_user(user.id, email="a@b", name="Ada L", now=NOW + 9) == changed
    assert [event.action for event in await _audit(db)].count("user.updated") == 1


async def test_an_address_cannot_be_changed_to_anothers(accounts: Accounts) -> None:
    await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    other = await accounts.create_user(email="c@d", password=PASSWORD, now=NOW)

    with pytest.raises(Conflict):
        await accounts.update_user(other.id, email="A@B", now=NOW)


async def test_an_update_of_an_older_version_changes_nothing(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    await accounts.update_user(user.id, name="new", now=NOW)

    assert not await db.write(lambda tx: update_user(tx, replace(user, name="old")))


async def test_unknown_users_are_not_found(accounts: Accounts) -> None:
    with pytest.raises(NotFound):
        await accounts.update_user("nobody", name="x", now=NOW)
    with pytest.raises(NotFound):
        await accounts.delete_user("nobody", now=NOW)
    with pytest.raises(NotFound):
        await accounts.force_logout("nobody", now=NOW)


async def test_disabling_ends_sessions_and_enabling_lets_in_again(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)

    disabled = await accounts.disable_user(user.id, now=NOW)
    assert (disabled.is_active, disabled.session_epoch) == (False, 1)
    with pytest.raises(Conflict):
        await accounts.disable_user(user.id, now=NOW)

    assert (await accounts.enable_user(user.id, now=NOW)).is_active
    with pytest.raises(Conflict):
        await accounts.enable_user(user.id, now=NOW)
    assert {"user.disabled", "user.enabled"} <= {event.action for event in await _audit(db)}


async def test_a_new_password_replaces_the_old_one_and_ends_sessions(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)

    changed = await accounts.set_password(user.id, "another password", now=NOW)

    assert changed.session_epoch == 1
    assert not (await accounts.verify_password(changed, PASSWORD)).accepted
    assert (await accounts.verify_password(changed, "another password")).accepted
    (row,) = [event for event in await _audit(db) if event.action == "user.password_set"]
    assert row.detail == f"user={user.id}"


async def test_a_federated_user_gets_no_password(db: Database, accounts: Accounts) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    federated = replace(user, id="f", email=None, provider=UserProvider.OIDC, provider_sub="s", password_hash="")
    await db.write(lambda tx: insert_user(tx, federated))

    with pytest.raises(Invalid):
        await accounts.set_password("f", "another password", now=NOW)


async def test_a_user_with_live_tokens_is_deleted_only_by_force(
    db: Database, accounts: Accounts, tokens: Tokens
) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    tokens.live = 2

    with pytest.raises(Conflict):
        await accounts.delete_user(user.id, now=NOW)
    await accounts.delete_user(user.id, force=True, now=NOW)

    assert await find_user(db, user.id) is None
    assert tokens.revoked_of == [user.id]
    (event,) = await list_events(db, limit=10, action="user.deleted")
    assert event.detail == f"user={user.id} force=true"


async def test_a_forced_logout_ends_sessions_and_tokens(db: Database, accounts: Accounts, tokens: Tokens) -> None:
    user = await accounts.create_user(email="a@b", password=PASSWORD, now=NOW)
    tokens.live = 3

    assert await accounts.force_logout(user.id, now=NOW) == 3

    after = await find_user(db, user.id)
    assert after is not None
    assert after.session_epoch == 1
    (event,) = await list_events(db, limit=10, action="user.force_logout")
    assert event.detail == f"user={user.id} revoked=3"


async def test_all_users_are_listed_over_pages(db: Database) -> None:
    user = User(
        id="",
        email=None,
        name="",
        role=UserRole.USER,
        status=UserStatus.ACTIVE,
        password_hash="",
        provider=UserProvider.OIDC,
        provider_sub="",
        session_epoch=0,
        version=1,
        created_at=NOW,
        updated_at=NOW,
    )

    async def insert(tx: Writer) -> None:
        for n in range(5):
            await insert_user(tx, replace(user, id=f"u{n}", provider_sub=f"s{n}"))

    await db.write(insert)

    first = await list_users(db, limit=2)
    rest = await list_users(db, limit=9, after=first[-1])
    assert [user.id for user in (*first, *rest)] == ["u0", "u1", "u2", "u3", "u4"]
