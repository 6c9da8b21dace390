"""What operators see and take back of the tokens that were handed out (admin API §11)."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from authserver.audit.store import list_events
from authserver.audit.trail import AuditTrail
from authserver.protocol.identifiers import new_id, spell_id
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.resources.administration import ResourceAdministration, ResourceDraft
from authserver.resources.records import BackendKind
from authserver.storage.database import Database, Reader, Writer
from authserver.tokens.administration import IssuanceAdministration
from authserver.tokens.records import Issuance, IssuanceFilter, IssuanceKind
from authserver.tokens.store import append_issuance
from authserver.tokens.views import build_issuance

pytestmark = pytest.mark.anyio

NOW = 1_790_000_000
DAY = 24 * 3600


@pytest.fixture
def issuances(db: Database) -> IssuanceAdministration:
    return IssuanceAdministration(db=db, trail=AuditTrail(db, lambda: NOW * 1000))


async def a_resource(db: Database, slug: str) -> str:
    async def nobody(_reader: Reader, _id: str) -> bool:
        return False

    administration = ResourceAdministration(db, AuditTrail(db, lambda: NOW * 1000), nobody, nobody)
    draft = ResourceDraft(slug=slug, backend_kind=BackendKind.MINT, uri=f"https://{slug}.example")
    return (await administration.create_resource(draft, now=NOW)).id


def an_issuance(**changes: object) -> Issuance:
    """A token of a user, ten seconds old."""
    issued_at = changes.pop("issued_at", NOW - 10)
    assert isinstance(issued_at, int)
    issuance = Issuance(
        id=new_id(issued_at * 1000),
        token_digest=None,
        kind=IssuanceKind.USER,
        subject="ada",
        client_id="agent",
        resource_id=None,
        scopes=("read", "write"),
        authorization_id=None,
        issued_at=issued_at,
        expires_at=issued_at + 900,
    )
    return replace(issuance, **changes)  # type: ignore[arg-type]  # as the tests name them


async def keep(db: Database, *issuances: Issuance) -> None:
    async def write(tx: Writer) -> None:
        for issuance in issuances:
            await append_issuance(tx, issuance)

    await db.write(write)


def ids(found: Sequence[Issuance]) -> list[bytes]:
    return [issuance.id for issuance in found]


async def test_every_filter_that_is_given_must_fit_and_the_newest_comes_first(
    db: Database, issuances: IssuanceAdministration
) -> None:
    notes, mail = await a_resource(db, "notes"), await a_resource(db, "mail")
    oldest = an_issuance(issued_at=NOW - 30, resource_id=notes)
    middle = an_issuance(issued_at=NOW - 20, client_id="other", resource_id=mail)
    newest = an_issuance(subject="bob", resource_id=notes)
    await keep(db, middle, newest, oldest)
    for wanted, expected in (
        (IssuanceFilter(user_id="ada"), [middle, oldest]),
        (IssuanceFilter(client_id="agent"), [newest, oldest]),
        (IssuanceFilter(resource_id=notes), [newest, oldest]),
        (IssuanceFilter(user_id="ada", client_id="agent"), [oldest]),
        (IssuanceFilter(client_id="agent", resource_id=notes), [newest, oldest]),
        (IssuanceFilter(user_id="ada", resource_id=mail), [middle]),
        (IssuanceFilter(user_id="bob", client_id="agent", resource_id=notes), [newest]),
        (IssuanceFilter(user_id="bob", client_id="agent", resource_id=mail), []),
    ):
        assert list(await issuances.list_issuances(wanted, since=NOW - DAY, now=NOW)) == expected
    assert ids(await issuances.list_issuances(IssuanceFilter(user_id="ada"), since=NOW, now=NOW)) == []
    assert ids(await issuances.list_issuances(IssuanceFilter(user_id="ada"), since=NOW - 20, now=NOW)) == [middle.id]
    limited = await issuances.list_issuances(IssuanceFilter(user_id="ada"), since=NOW - DAY, limit=1, now=NOW)
    assert ids(limited) == [middle.id]


async def test_one_token_is_found_whenever_it_was_issued_and_must_fit_the_other_filters(
    db: Database, issuances: IssuanceAdministration
) -> None:
    old = an_issuance(issued_at=NOW - 300 * DAY)
    await keep(db, old)
    jti = spell_id(old.id)
    for wanted, expected in (
        (IssuanceFilter(jti=jti), [old]),
        (IssuanceFilter(jti=jti, user_id="ada", client_id="agent"), [old]),
        (IssuanceFilter(jti=jti, user_id="bob"), []),
        (IssuanceFilter(jti=jti, resource_id="notes"), []),
        (IssuanceFilter(jti=spell_id(new_id(NOW * 1000))), []),
        (IssuanceFilter(jti="no id"), []),
    ):
        assert list(await issuances.list_issuances(wanted, since=0, limit=0, now=NOW)) == expected
    assert await issuances.get_issuance(jti) == old


async def test_what_another_service_issued_has_no_jti_to_be_found_by(
    db: Database, issuances: IssuanceAdministration
) -> None:
    vended = an_issuance(kind=IssuanceKind.BROKER)
    await keep(db, vended)
    found = await issuances.list_issuances(IssuanceFilter(jti=spell_id(vended.id)), since=NOW, now=NOW)
    assert ids(found) == []
    assert await issuances.get_issuance(spell_id(vended.id)) == vended


@pytest.mark.parametrize(
    ("wanted", "since", "limit"),
    [
        (IssuanceFilter(), NOW, 1),
        (IssuanceFilter(user_id="ada"), NOW - 30 * DAY - 61, 1),
        (IssuanceFilter(user_id="ada"), NOW, 0),
        (IssuanceFilter(user_id="ada"), NOW, 5001),
    ],
)
async def test_a_list_that_is_not_bounded_is_refused(
    issuances: IssuanceAdministration, wanted: IssuanceFilter, since: int, limit: int
) -> None:
    with pytest.raises(Invalid):
        await issuances.list_issuances(wanted, since=since, limit=limit, now=NOW)


async def test_the_bounds_themselves_and_the_future_are_no_faults(issuances: IssuanceAdministration) -> None:
    for since, limit in ((NOW - 30 * DAY - 60, 1), (NOW + 1, 5000), (1 << 60, 1)):
        wanted = IssuanceFilter(user_id="ada")
        assert list(await issuances.list_issuances(wanted, since=since, limit=limit, now=NOW)) == []


@pytest.mark.parametrize("unknown", ["", "x", "A" * 22])
async def test_an_unknown_token_is_not_found_and_revoking_it_leaves_no_row(
    db: Database, issuances: IssuanceAdministration, unknown: str
) -> None:
    with pytest.raises(NotFound, match="issuance not found"):
        await issuances.get_issuance(unknown)
    await issuances.revoke(unknown, now=NOW)
    await issuances.revoke(unknown, cascade=True, now=NOW)
    assert await list_events(db, limit=10) == []


async def a_chain(db: Database) -> list[Issuance]:
    """Four tokens, each exchanged from the one before, and one that is a second child of the first."""
    root = an_issuance()
    first = an_issuance(kind=IssuanceKind.EXCHANGE, parent_jti=root.id)
    second = an_issuance(kind=IssuanceKind.EXCHANGE, parent_jti=first.id)
    third = an_issuance(kind=IssuanceKind.EXCHANGE, parent_jti=second.id)
    sibling = an_issuance(kind=IssuanceKind.EXCHANGE, parent_jti=root.id)
    await keep(db, root, first, second, third, sibling)
    return [root, first, second, third, sibling]


async def revoked(db: Database, tokens: Sequence[Issuance]) -> list[int | None]:
    rows = {row["id"]: row["revoked_at"] for row in await db.fetch_all("SELECT id, revoked_at FROM issuances")}
    return [rows[token.id] for token in tokens]


async def test_revoking_one_token_leaves_what_was_exchanged_from_it(
    db: Database, issuances: IssuanceAdministration
) -> None:
    chain = await a_chain(db)
    for moment in (NOW, NOW + 1):
        await issuances.revoke(spell_id(chain[0].id), now=moment)
    assert await revoked(db, chain) == [NOW, None, None, None, None]
    (event,) = await list_events(db, limit=10)
    assert (event.action, event.actor_id) == ("issuance.revoked_admin", "admin")
    assert event.detail == f'id={spell_id(chain[0].id)} subject_user_id=ada client_id=agent resource_id=""'


async def test_a_cascade_reaches_the_leaves_also_through_what_was_revoked_before(
    db: Database, issuances: IssuanceAdministration
) -> None:
    chain = await a_chain(db)
    await issuances.revoke(spell_id(chain[0].id), now=NOW)
    await issuances.revoke(spell_id(chain[2].id), now=NOW + 1)
    await issuances.revoke(spell_id(chain[0].id), cascade=True, now=NOW + 2)
    assert await revoked(db, chain) == [NOW, NOW + 2, NOW + 1, NOW + 2, NOW + 2]
    await issuances.revoke(spell_id(chain[0].id), cascade=True, now=NOW + 3)
    assert await revoked(db, chain) == [NOW, NOW + 2, NOW + 1, NOW + 2, NOW + 2]
    counts = [event.detail.partition("revoked_descendants=")[2] for event in await list_events(db, limit=10)]
    assert sorted(counts) == ["", "", "3"]


async def test_a_cascade_leaves_what_came_before_the_token(db: Database, issuances: IssuanceAdministration) -> None:
    chain = await a_chain(db)
    await issuances.revoke(spell_id(chain[2].id), cascade=True, now=NOW)
    assert await revoked(db, chain) == [None, None, NOW, NOW, None]


async def test_what_is_shown_has_each_member_of_the_contract() -> None:
    parent = an_issuance()
    bound = an_issuance(
        kind=IssuanceKind.EXCHANGE,
        resource_id="notes",
        revoked_at=NOW,
        dpop_jkt="j",
        agent_id="agent",
        agent_chain=("planner", "agent"),
        consent_client_id="planner",
        parent_jti=parent.id,
    )
    assert build_issuance(parent) == {
        "id": spell_id(parent.id),
        "jti": spell_id(parent.id),
        "subject_user_id": "ada",
        "client_id": "agent",
        "resource_id": "",
        "backend_kind": "mint",
        "scopes": ["read", "write"],
        "revocable": True,
        "issued_at": "2026-09-21T14:13:10Z",
        "expires_at": "2026-09-21T14:28:10Z",
        "agent_chain": [],
    }
    assert (
        build_issuance(bound).items()
        >= {
            "revoked_at": "2026-09-21T14:13:20Z",
            "dpop_jkt": "j",
            "agent_id": "agent",
            "consent_client_id": "planner",
            "parent_jti": spell_id(parent.id),
        }.items()
    )
    vended = build_issuance(an_issuance(kind=IssuanceKind.BROKER))
    assert (vended["jti"], vended["backend_kind"], vended["revocable"]) == ("", "broker", False)
    machine = build_issuance(an_issuance(kind=IssuanceKind.MACHINE, subject=None))
    assert machine["subject_user_id"] == "agent"
