from collections.abc import Sequence

import pytest

from authserver.maintenance import purge as module
from authserver.maintenance.purge import DAY, DEFAULT_TARGETS, NAMED_ONLY, Target, parse_targets, purge
from authserver.protocol.operator_errors import Invalid
from authserver.storage.database import Database, Value, Writer

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000


def _id(second: int, n: int = 0) -> bytes:
    return (second * 1000).to_bytes(6, "big") + n.to_bytes(10, "big")


async def _insert(db: Database, table: str, *rows: dict[str, Value]) -> None:
    async def insert(tx: Writer) -> None:
        for row in rows:
            marks = ", ".join(f"${n}" for n in range(1, len(row) + 1))
            values = [
                await tx.number_of(value) if column.endswith("number") and isinstance(value, str) else value
                for column, value in row.items()
            ]
            await tx.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *values)

    await db.write(insert)


async def _column(db: Database, sql: str) -> list[Value]:
    return [row["value"] for row in await db.fetch_all(sql)]


async def _a_client(db: Database, client_id: str = "c", source: str = "admin", *, issued_at: int = 0) -> None:
    await _insert(
        db,
        "clients",
        {
            "id": client_id,
            "name": "",
            "redirect_uris": "[]",
            "grant_types": "[]",
            "response_types": "[]",
            "token_endpoint_auth_method": "none",
            "status": "active",
            "registration_source": source,
            "issued_at": issued_at,
            "updated_at": issued_at,
        },
    )


async def _a_user(db: Database) -> None:
    await _insert(db, "users", {"id": "u", "created_at": 0, "updated_at": 0})


def _authorization(n: int, **fields: Value) -> dict[str, Value]:
    return {
        "id": _id(0, n),
        "client_id": "c",
        "user_id": "u",
        "redirect_uri": "",
        "scope": "",
        "code_challenge": "",
        "created_at": 0,
        "state": "s",
        "expires_at": None,
        "consumed_at": None,
        "code_hash": None,
        "retry_token_hash": None,
        "retry_request": None,
        "retry_response": None,
        "rotated_at": None,
        **fields,
    }


def _issuance(n: int, kind: str = "user", **fields: Value) -> dict[str, Value]:
    return {
        "id": _id(0, n),
        "kind": kind,
        "client_number": "c",
        "resource_number": None,
        "scopes": "",
        "issued_at": 0,
        "expires_at": NOW - 1,
        "revoked_at": None,
        **fields,
    }


async def _a_resource(db: Database) -> None:
    names: Sequence[str] = ("id", "slug", "backend_kind", "scopes", "policy")
    row: dict[str, Value] = dict(zip(names, ("r", "r", "mint", "[]", "{}"), strict=True))
    await _insert(db, "resources", {**row, "number": "r", "created_at": 0, "updated_at": 0})


def test_all_but_the_named_ones_run_in_the_order_of_their_names() -> None:
    assert parse_targets("") == DEFAULT_TARGETS
    assert [str(target) for target in DEFAULT_TARGETS] == [
        "assertion-jti",
        "connect-pending-states",
        "dpop-nonces",
        "jti",
        "machine-tokens",
        "refresh-tokens",
        "refusal-traces",
        "sessions",
    ]
    assert {str(target) for target in NAMED_ONLY} == {"audit-events", "issuances", "unused-clients"}


def test_targets_are_named_with_commas_and_blanks() -> None:
    assert parse_targets(" sessions , jti,,") == (Target.JTI, Target.SESSIONS)


@pytest.mark.parametrize(("only", "message"), [(" , ", "at least one"), ("jti,users", "unknown purge target 'users'")])
def test_what_names_no_target_is_refused(only: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_targets(only)


async def test_expired_replay_marks_go_and_live_ones_stay(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    for table, key in (("dpop_jtis", "jkt"), ("assertion_jtis", "issuer")):
        expired: list[dict[str, Value]] = [{key: "k", "jti": f"old{n}", "expires_at": NOW - 1} for n in range(5)]
        await _insert(db, table, *expired, {key: "k", "jti": "live", "expires_at": NOW})

    later = NOW + module.SPENT_SLACK
    assert await purge(db, Target.DPOP_NONCES, now=later) == 5
    assert await purge(db, Target.ASSERTION_JTI, now=later) == 5
    assert await purge(db, Target.DPOP_NONCES, now=later) == 0
    assert await _column(db, "SELECT jti AS value FROM dpop_jtis") == ["live"]
    assert await _column(db, "SELECT jti AS value FROM assertion_jtis") == ["live"]


async def test_a_purge_by_a_clock_that_is_ahead_lets_nothing_be_used_again(db: Database) -> None:
    await _insert(db, "dpop_jtis", {"jkt": "k", "jti": "used", "expires_at": NOW + 120})
    await _insert(db, "assertion_jtis", {"issuer": "i", "jti": "used", "expires_at": NOW + 120})
    for target in (Target.DPOP_NONCES, Target.ASSERTION_JTI):
        assert await purge(db, target, now=NOW + module.SPENT_SLACK) == 0
    assert await _column(db, "SELECT jti AS value FROM dpop_jtis") == ["used"]
    assert await _column(db, "SELECT jti AS value FROM assertion_jtis") == ["used"]


async def test_expired_pending_connects_go(db: Database) -> None:
    await _a_user(db)
    await _a_resource(db)
    row: dict[str, Value] = {
        "user_id": "u",
        "provider_id": "p",
        "resource_id": "r",
        "code_verifier": "",
        "return_url": "",
        "scopes": "",
    }
    await _insert(
        db,
        "connect_pending_states",
        {"id": "old", **row, "expires_at": NOW - 1},
        {"id": "live", **row, "expires_at": NOW},
    )

    assert await purge(db, Target.CONNECT_PENDING_STATES, now=NOW) == 1
    assert await _column(db, "SELECT id AS value FROM connect_pending_states") == ["live"]


async def test_requests_go_and_families_stay_without_their_codes(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    await _a_client(db)
    await _a_user(db)
    requests = [_authorization(n, expires_at=NOW - 5) for n in range(5)]
    families = [_authorization(10 + n, expires_at=NOW - 5, consumed_at=NOW - 9, code_hash=bytes([n])) for n in range(5)]
    live = [
        _authorization(20, expires_at=NOW),
        _authorization(21, expires_at=NOW, consumed_at=NOW - 1, code_hash=b"live"),
        _authorization(22, consumed_at=1),
    ]
    await _insert(db, "authorizations", *requests, *families, *live)

    assert await purge(db, Target.SESSIONS, now=NOW) == 10
    assert await purge(db, Target.SESSIONS, now=NOW) == 0

    rows = await db.fetch_all("SELECT id, code_hash, expires_at, state FROM authorizations ORDER BY id")
    kept = {row["id"]: (row["code_hash"], row["expires_at"], row["state"]) for row in rows}
    assert kept == {
        **{_id(0, 10 + n): (None, None, "") for n in range(5)},
        _id(0, 20): (None, NOW, "s"),
        _id(0, 21): (b"live", NOW, "s"),
        _id(0, 22): (None, None, "s"),
    }


async def test_refresh_tokens_go_spent_or_not_and_old_retry_answers_are_erased(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    await _a_client(db)
    await _a_user(db)
    answer: dict[str, Value] = {"retry_token_hash": b"t", "retry_request": b"q", "retry_response": b"a"}
    await _insert(
        db,
        "authorizations",
        *(_authorization(n, consumed_at=1, rotated_at=NOW - 31, **answer) for n in range(3)),
        _authorization(9, consumed_at=1, rotated_at=NOW - 30, **answer),
    )
    tokens: list[dict[str, Value]] = [
        {"token_hash": b"old", "consumed_at": None, "expires_at": NOW - 1},
        {"token_hash": b"spent", "consumed_at": 1, "expires_at": NOW - 1},
        {"token_hash": b"live", "consumed_at": 1, "expires_at": NOW},
    ]
    await _insert(db, "refresh_tokens", *({**token, "authorization_id": _id(0), "created_at": 0} for token in tokens))

    assert await purge(db, Target.REFRESH_TOKENS, now=NOW, refresh_grace=30) == 5
    assert await _column(db, "SELECT token_hash AS value FROM refresh_tokens") == [b"live"]
    assert await _column(db, "SELECT id AS value FROM authorizations WHERE retry_response IS NOT NULL") == [_id(0, 9)]
    assert await _column(db, "SELECT retry_request AS value FROM authorizations WHERE retry_request IS NOT NULL") == [
        b"q"
    ]


async def test_tokens_without_a_resource_go_and_history_stays(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    await _a_resource(db)
    await _insert(
        db,
        "issuance_rows",
        *(_issuance(n) for n in range(3)),
        *(_issuance(10 + n, "machine") for n in range(3)),
        _issuance(20, "exchange"),
        _issuance(30, resource_number="r"),
        _issuance(31, "machine", resource_number="r"),
        _issuance(32, expires_at=NOW),
        _issuance(33, "machine", expires_at=NOW),
    )

    assert await purge(db, Target.JTI, now=NOW) == 3
    assert await purge(db, Target.MACHINE_TOKENS, now=NOW) == 4
    assert await _column(db, "SELECT id AS value FROM issuances ORDER BY id") == [_id(0, n) for n in range(30, 34)]


async def test_issuances_go_when_named_after_their_retention(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    await _a_resource(db)
    old, young = NOW - 31 * DAY, NOW - 29 * DAY
    await _insert(
        db,
        "issuance_rows",
        *(_issuance(n, resource_number="r", expires_at=old) for n in range(3)),
        _issuance(3, resource_number="r", expires_at=old, revoked_at=old),
        _issuance(4, resource_number="r", expires_at=old, revoked_at=young),
        _issuance(5, resource_number="r", expires_at=young),
    )

    assert await purge(db, Target.ISSUANCES, now=NOW) == 4
    assert await _column(db, "SELECT id AS value FROM issuances ORDER BY id") == [_id(0, 4), _id(0, 5)]
    assert await purge(db, Target.ISSUANCES, now=NOW, retention=DAY) == 2


async def test_a_token_stays_as_long_as_something_that_was_exchanged_from_it(db: Database) -> None:
    await _a_resource(db)
    old = NOW - 31 * DAY
    chain = [
        _issuance(n, "exchange", resource_number="r", expires_at=old, parent_jti=_id(0, n - 1)) for n in range(1, 3)
    ]
    live = _issuance(3, "exchange", resource_number="r", expires_at=NOW + 60, parent_jti=_id(0, 2))
    root = _issuance(0, resource_number="r", expires_at=old, revoked_at=old)
    await _insert(
        db,
        "issuance_rows",
        {**root, "parent_jti": None},
        *chain,
        live,
        _issuance(4, resource_number="r", expires_at=old),
    )

    assert await purge(db, Target.ISSUANCES, now=NOW) == 1
    assert await _column(db, "SELECT id AS value FROM issuances ORDER BY id") == [_id(0, n) for n in range(4)]
    # The last of them takes all the others with it.
    assert await purge(db, Target.ISSUANCES, now=NOW + 61 + 30 * DAY) == 4


async def test_audit_events_go_only_with_a_retention_and_a_key(db: Database) -> None:
    with pytest.raises(Invalid, match="needs --retention"):
        await purge(db, Target.AUDIT_EVENTS, now=NOW)
    with pytest.raises(Invalid, match="no key"):
        await purge(db, Target.AUDIT_EVENTS, now=NOW, retention=20)


async def test_clients_that_never_did_anything_go_when_named(db: Database) -> None:
    old = NOW - 31 * DAY
    await _a_user(db)
    await _a_resource(db)
    await _a_client(db, "unused-dcr", "dcr", issued_at=old)
    await _a_client(db, "unused-cimd", "cimd", issued_at=old)
    await _a_client(db, "unused-admin", "admin", issued_at=old)
    await _a_client(db, "young", "dcr", issued_at=NOW - 29 * DAY)
    for name in ("family", "consent", "issuance", "waiting"):
        await _a_client(db, name, "dcr", issued_at=old)
    device: dict[str, Value] = {"id": b"d", "device_code_hash": b"d", "user_code": "d", "client_id": "waiting"}
    await _insert(
        db, "device_requests", device | {"scope": "", "created_at": 1, "poll_interval": 5, "expires_at": NOW + 600}
    )
    for n, name in enumerate(("abandoned", "asking"), 2):
        await _a_client(db, name, "dcr", issued_at=old)
        expires_at = old + 600 if name == "abandoned" else NOW + 600
        await _insert(db, "authorizations", _authorization(n, client_id=name, expires_at=expires_at))
    await _insert(db, "authorizations", _authorization(1, client_id="family", consumed_at=1))
    await _insert(db, "issuance_rows", _issuance(1, client_number="issuance", resource_number="r"))
    await _insert(
        db,
        "consent_grants",
        {
            "id": b"g",
            "user_id": "u",
            "client_id": "consent",
            "resource_id": "r",
            "scopes": "[]",
            "redirect_uris": "[]",
            "created_at": 0,
            "updated_at": 0,
        },
    )

    assert await purge(db, Target.UNUSED_CLIENTS, now=NOW) == 3
    left = await _column(db, "SELECT id AS value FROM clients ORDER BY id")
    assert left == ["asking", "consent", "family", "issuance", "unused-admin", "waiting", "young"]
    assert await _column(db, "SELECT version AS value FROM changes WHERE topic = 'clients'") == [1]


async def test_devices_that_waited_too_long_go_with_the_sessions(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    await _a_client(db)
    device: dict[str, Value] = {"client_id": "c", "scope": "", "created_at": 1, "poll_interval": 5}
    waiting: list[dict[str, Value]] = [
        {"id": _id(0, n), "device_code_hash": bytes([n]), "user_code": f"{n}", "expires_at": NOW - 1 + n // 5}
        for n in range(6)
    ]
    await _insert(db, "device_requests", *(device | row for row in waiting))

    assert await purge(db, Target.SESSIONS, now=NOW) == 5
    assert await _column(db, "SELECT user_code AS value FROM device_requests") == ["5"]
