import asyncio
import json
import re
import time

import pytest

from authserver.protocol.identifiers import new_id, spell_id
from authserver.storage.database import Writer
from authserver.tokens.records import Issuance, IssuanceKind
from authserver.tokens.store import append_issuance
from server.tests.cli.terminal import Command, audited
from server.tests.conftest import open_target

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
DAY = 24 * 3600


@pytest.fixture
def issued(command: Command, database_target: str) -> list[Issuance]:
    """A token of a minute ago, one that was exchanged from it, and one of two days ago."""
    resource_id = command("admin", "resource", "create", "--slug", "notes", "--backend-kind", "mint").fields["id"]
    now = int(time.time())

    def token(age: int, parent: bytes | None = None) -> Issuance:
        return Issuance(
            id=new_id((now - age) * 1000),
            token_digest=None,
            kind=IssuanceKind.USER if parent is None else IssuanceKind.EXCHANGE,
            subject="ada",
            client_id="agent" if parent is None else "gateway",
            resource_id=resource_id,
            scopes=("read", "write"),
            authorization_id=None,
            issued_at=now - age,
            expires_at=now - age + 900,
            parent_jti=parent,
        )

    root = token(60)
    made = [root, token(30, root.id), token(2 * DAY)]

    async def keep(tx: Writer) -> None:
        for each in made:
            await append_issuance(tx, each)

    async def write() -> None:
        db = await open_target(database_target)
        try:
            await db.write(keep)
        finally:
            await db.close()

    asyncio.run(write())
    return made


def words(issuance: Issuance, *, scopes: str = "", revoked: str = "") -> str:
    """Return the pattern of a token's line."""
    spelled = re.escape(spell_id(issuance.id))
    return (
        f"id={spelled} jti={spelled} subject_user_id=ada client_id={issuance.client_id}"
        f" resource_id={issuance.resource_id} backend_kind=mint{scopes} issued_at={TIME} expires_at={TIME}{revoked}\n"
    )


def test_tokens_are_listed_newest_first_and_as_far_back_as_wanted(command: Command, issued: list[Issuance]) -> None:
    root, child, old = issued
    done = command("admin", "issuance", "list", "--user", "ada")
    assert re.fullmatch(rf"issuances \(2\) since={TIME}:\n  {words(child)}  {words(root)}", done.out)
    for since in ("3d", "72h", "1w"):
        done = command("admin", "issuance", "list", "--user", "ada", "--since", since)
        assert re.fullmatch(rf"issuances \(3\) since={TIME}:\n  {words(child)}  {words(root)}  {words(old)}", done.out)
    done = command("admin", "issuance", "list", "--client", "gateway", "--resource", str(root.resource_id))
    assert re.fullmatch(rf"issuances \(1\) since={TIME}:\n  {words(child)}", done.out)
    assert command("admin", "issuance", "list", "--user", "ada", "--limit", "1").out.startswith("issuances (1) ")
    done = command("admin", "issuance", "list", "--jti", spell_id(old.id), "--since", "1s")
    assert re.fullmatch(rf"issuances \(1\) since=:\n  {words(old)}", done.out)


def test_json_has_the_objects_of_the_admin_api(command: Command, issued: list[Issuance]) -> None:
    root, child, _ = issued
    listed = json.loads(command("admin", "issuance", "list", "--user", "ada", "--json").out)
    assert listed.keys() == {"issuances", "since", "count"}
    assert (listed["count"], [each["id"] for each in listed["issuances"]]) == (
        2,
        [spell_id(child.id), spell_id(root.id)],
    )
    assert listed["issuances"][0]["parent_jti"] == spell_id(root.id)
    one = json.loads(command("admin", "issuance", "list", "--jti", spell_id(root.id), "--json").out)
    assert (one["since"], one["count"]) == ("", 1)
    assert (
        json.loads(command("admin", "issuance", "get", "--id", spell_id(root.id), "--json").out)
        == (one["issuances"][0])
    )


def test_one_token_is_shown_with_its_scopes(command: Command, issued: list[Issuance]) -> None:
    done = command("admin", "issuance", "get", "--id", spell_id(issued[0].id))
    assert re.fullmatch(words(issued[0], scopes=r" scopes=\[read write\]"), done.out)
    missing = command("admin", "issuance", "get", "--id", "x")
    assert (missing.code, missing.out, missing.err) == (1, "", "error: issuance not found: x\n")


def test_a_token_is_revoked_alone_or_with_what_was_exchanged_from_it(
    command: Command, issued: list[Issuance], database_target: str
) -> None:
    root, child, _ = issued
    spelled = spell_id(root.id)
    for _ in range(2):
        done = command("admin", "issuance", "revoke", "--id", spelled)
        assert (done.code, done.out, done.err) == (0, f"issuance revoked: id={spelled}\n", "")
    listing = ("admin", "issuance", "list", "--user", "ada")
    gone = rf" revoked_at={TIME}"
    assert re.fullmatch(
        rf"issuances \(2\) since={TIME}:\n  {words(child)}  {words(root, revoked=gone)}", command(*listing).out
    )
    done = command("admin", "issuance", "revoke", "--id", spelled, "--cascade")
    assert (done.code, done.out) == (0, f"issuance revoked: id={spelled}\n")
    assert re.fullmatch(
        rf"issuances \(2\) since={TIME}:\n  {words(child, revoked=gone)}  {words(root, revoked=gone)}",
        command(*listing).out,
    )
    rows = [each for each in audited(database_target) if each.action == "issuance.revoked_admin"]
    assert [(each.actor_id, each.ip) for each in rows] == [("admin", "")] * 2
    about = f"id={spelled} subject_user_id=ada client_id=agent resource_id={root.resource_id}"
    assert [each.detail for each in rows] == [about, f"{about} revoked_descendants=1"]


def test_an_unknown_token_is_revoked_without_a_trace(command: Command, database_target: str) -> None:
    for unknown in ("x", spell_id(new_id(0))):
        done = command("admin", "issuance", "revoke", "--id", unknown, "--cascade")
        assert (done.code, done.out) == (0, f"issuance revoked: id={unknown}\n")
    assert [each for each in audited(database_target) if each.action == "issuance.revoked_admin"] == []


@pytest.mark.parametrize(
    "given",
    [
        ("list",),
        ("list", "--user", "ada", "--since", "31d"),
        ("list", "--user", "ada", "--since", "soon"),
        ("list", "--user", "ada", "--limit", "0"),
        ("list", "--user", "ada", "--limit", "5001"),
        ("get",),
        ("revoke",),
    ],
)
def test_what_is_missing_or_out_of_range_is_told_in_one_line(command: Command, given: tuple[str, ...]) -> None:
    refused = command("admin", "issuance", *given)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith("error: ")
