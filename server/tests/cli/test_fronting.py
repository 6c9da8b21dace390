import json
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

ENDS = ("--source", "gw", "--target", "api")


@pytest.fixture
def both(command: Command) -> Command:
    """The command, with two resources registered."""
    for slug, *scopes in (("gw", "a", "b:c"), ("api", "x", "y", "z")):
        options = [part for scope in scopes for part in ("--scopes", scope)]
        done = command("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint", *options)
        assert done.code == 0, done.err
    return command


def actions(target: str) -> list[tuple[str, str | None, str]]:
    rows = [row for row in audited(target) if row.action.startswith("fronting_link.")]
    return [(str(row.action), row.actor_id, row.detail) for row in rows]


def test_a_link_is_created_shown_given_another_map_and_deleted(both: Command, database_target: str) -> None:
    assert both("admin", "fronting", "list").out == "no fronting links found\n"
    assert both("admin", "fronting", "list", "--json").out == "[]\n"
    made = both("admin", "fronting", "create", *ENDS, "--scope-map", " a : y + x ,, a:z")
    assert (made.code, made.out, made.err) == (0, "fronting link created: source=gw target=api\n", "")
    line = "source=gw target=api scope_map={a->x+y+z} created_by=cli\n"
    assert both("admin", "fronting", "get", *ENDS).out == line
    assert both("admin", "fronting", "list", "--source", "gw").out == line
    assert both("admin", "fronting", "list", "--source", "api").out == "no fronting links found\n"
    assert json.loads(both("admin", "fronting", "get", *ENDS, "--json").out)["scope_map"] == {"a": ["y", "x", "z"]}
    changed = both("admin", "fronting", "update", *ENDS, "--scope-map", "a:z")
    assert changed.out == "fronting link updated: source=gw target=api scope_map={a->z}\n"
    assert both("admin", "fronting", "update", *ENDS).out == changed.out
    assert both("admin", "fronting", "delete", *ENDS).out == "fronting link deleted: source=gw target=api\n"
    assert both("admin", "fronting", "get", *ENDS).code == 1
    assert [(action, actor) for action, actor, _ in actions(database_target)] == [
        ("fronting_link.created", "cli"),
        ("fronting_link.patched", "cli"),
        ("fronting_link.deleted", "cli"),
    ]


def test_a_dry_run_checks_and_writes_nothing(both: Command, database_target: str) -> None:
    done = both("admin", "fronting", "create", *ENDS, "--scope-map", "a:x", "--dry-run")
    assert (done.code, done.out) == (0, "validation OK: source=gw target=api scope_map={a->x}\n")
    assert both("admin", "fronting", "create", *ENDS, "--scope-map", "a:nothing", "--dry-run").code == 1
    assert both("admin", "fronting", "list").out == "no fronting links found\n"
    assert actions(database_target) == []


def test_names_with_a_colon_come_from_a_file(both: Command, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"b:c": ["x"]}')
    file = ("--scope-map-file", str(path))
    assert both("admin", "fronting", "create", *ENDS, *file, "--scope-map", "a:x").code == 1
    assert both("admin", "fronting", "create", *ENDS, *file).code == 0
    assert "scope_map={b:c->x}" in both("admin", "fronting", "get", *ENDS).out
    for text in ("[]", "{", '{"a": "x"}', '{"a": [1]}', " " * (1024 * 1024 + 1)):
        path.write_text(text)
        refused = both("admin", "fronting", "update", *ENDS, *file)
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--source", "gw", "--scope-map", "a:x"),
        ("create", *ENDS),
        ("create", *ENDS, "--scope-map", ""),
        ("create", *ENDS, "--scope-map", "a"),
        ("create", *ENDS, "--scope-map", ":x"),
        ("create", *ENDS, "--scope-map", "a:x+"),
        ("create", *ENDS, "--scope-map", "unknown:x"),
        ("create", "--source", "gw", "--target", "gw", "--scope-map", "a:a"),
        ("create", "--source", "gw", "--target", "unknown", "--scope-map", "a:x"),
        ("update", *ENDS, "--scope-map", "a:x"),
        ("delete", *ENDS),
    ],
)
def test_what_makes_no_link_is_one_line_of_error(both: Command, database_target: str, words: tuple[str, ...]) -> None:
    done = both("admin", "fronting", *words)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith("error: ")
    assert actions(database_target) == []


def test_a_link_is_made_once_and_closes_no_circle(both: Command) -> None:
    assert both("admin", "fronting", "create", *ENDS, "--scope-map", "a:x").code == 0
    again = both("admin", "fronting", "create", *ENDS, "--scope-map", "a:x")
    assert again.err == "error: fronting link already exists for this source and target\n"
    back = both("admin", "fronting", "create", "--source", "api", "--target", "gw", "--scope-map", "x:a")
    assert back.err == "error: fronting link would form a cycle\n"
