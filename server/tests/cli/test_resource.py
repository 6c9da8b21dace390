import json
import re
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

URI = "https://mcp.example.com/mcp"
SCOPES = ("--scopes", "read||See, and look at, things", "--scopes", "write|upstream.write", "--scopes", "drop")


def create(command: Command, *words: str, slug: str = "notes") -> str:
    done = command("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint", *words)
    assert done.code == 0, done.err
    return done.fields["id"]


def create_client(command: Command) -> str:
    done = command("admin", "client", "create", "--name", "Ada", "--redirect-uris", "http://127.0.0.1/callback")
    return done.fields["id"]


def shown(command: Command, resource_id: str) -> dict[str, object]:
    done = command("admin", "resource", "get", "--id", resource_id, "--json")
    assert done.out.startswith('{\n  "id": ')
    assert done.out.endswith("}\n")
    return dict(json.loads(done.out))


def test_a_resource_is_created(command: Command, database_target: str) -> None:
    done = command("admin", "resource", "create", "--slug", "Notes", "--backend-kind", "mint", "--uri", URI, *SCOPES)
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"resource created: id=[\w-]{22} slug=notes\n", done.out)
    (row,) = audited(database_target)
    assert (row.action, row.actor_id) == ("resource.created", "admin")


def test_resources_are_listed_and_shown(command: Command) -> None:
    first = create(command, "--uri", URI, "--display-name", 'My "notes"', *SCOPES)
    second = create(command, slug="empty")
    line = f"id={first} slug=notes backend_kind=mint broker_provider_id= uri={URI}"
    scopes = "scopes=read,write→upstream.write,drop"
    listed = command("admin", "resource", "list")
    lines = [
        f"{line} {scopes}",
        f"id={second} slug=empty backend_kind=mint broker_provider_id= uri= scopes=[]",
    ]
    assert (listed.code, sorted(listed.out.splitlines())) == (0, sorted(lines))
    got = command("admin", "resource", "get", "--id", first)
    assert (got.code, got.out) == (0, f'{line} display_name="My \\"notes\\"" {scopes}\n')


def test_json_is_the_object_of_the_admin_api(command: Command) -> None:
    resource_id = create(command, "--uri", URI, *SCOPES)
    assert shown(command, resource_id) == {
        "id": resource_id,
        "slug": "notes",
        "uri": URI,
        "display_name": "",
        "backend_kind": "mint",
        "broker_provider_id": "",
        "scopes": [
            {"name": "read", "description": "See, and look at, things"},
            {"name": "write", "upstream": "upstream.write"},
            {"name": "drop"},
        ],
        "policy": {"exchange": {"allowed_client_ids": []}, "runtime": {"client_ids": []}},
        "created_at": shown(command, resource_id)["created_at"],
        "updated_at": shown(command, resource_id)["updated_at"],
    }
    listed = json.loads(command("admin", "resource", "list", "--json").out)
    assert listed == [shown(command, resource_id)]


def test_lists_are_filtered(command: Command) -> None:
    assert command("admin", "resource", "list").out == "no resources found\n"
    assert command("admin", "resource", "list", "--json").out == "[]\n"
    create(command)
    assert command("admin", "resource", "list", "--backend-kind", "broker").out == "no resources found\n"
    assert command("admin", "resource", "list", "--broker-provider", "x").out == "no resources found\n"
    assert "slug=notes" in command("admin", "resource", "list", "--backend-kind", "mint").out


def test_scopes_may_stand_in_a_file(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(json.dumps([{"name": "read", "description": "See"}, {"name": "write", "upstream": "w"}]))
    resource_id = create(command, "--scopes-file", str(path))
    assert shown(command, resource_id)["scopes"] == [
        {"name": "read", "description": "See"},
        {"name": "write", "upstream": "w"},
    ]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"upstream": "x"}]', '{"name": "read"}', '"read"'])
def test_a_file_that_is_no_array_of_scopes_is_refused(command: Command, tmp_path: Path, content: str) -> None:
    path = tmp_path / "scopes.json"
    path.write_text(content)
    done = command("admin", "resource", "create", "--slug=a", "--backend-kind=mint", "--scopes-file", str(path))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert command("admin", "resource", "list").out == "no resources found\n"


def test_a_file_of_more_than_a_mebibyte_is_refused(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_bytes(b" " * (1024 * 1024 + 1))
    done = command("admin", "resource", "create", "--slug=a", "--backend-kind=mint", "--scopes-file", str(path))
    assert (done.code, done.out, done.err) == (1, "", f"error: {path} is larger than 1 MiB\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--backend-kind", "mint"), "--slug is required"),
        (("--slug", "a"), "--backend-kind is required"),
        (("--slug", "a", "--backend-kind", "cache"), "mint or broker"),
        (("--slug", "a", "--backend-kind", "broker"), "broker_provider_id is required"),
        (("--slug", "a b", "--backend-kind", "mint"), "slug must match"),
        (("--slug", "a", "--backend-kind", "mint", "--uri", "ftp://x"), "uri must be"),
        (("--slug", "a", "--backend-kind", "mint", "--scopes", "|up"), "has no name"),
        (("--slug", "a", "--backend-kind", "mint", "--scopes", "a", "--scopes", "a"), "given twice"),
        (("--slug", "a", "--backend-kind", "mint", "--policy-runtime-client-ids", "x"), "client not found: x"),
        (("--slug", "a", "--backend-kind", "mint", "--broker-provider", "x"), "must be empty for a mint resource"),
        (("--slug", "a", "--backend-kind", "mint", "--scopes-file", "nowhere.json"), "nowhere.json"),
    ],
)
def test_what_may_not_be_registered_is_refused(command: Command, words: tuple[str, ...], sentence: str) -> None:
    done = command("admin", "resource", "create", *words)
    assert (done.code, done.out) == (1, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1


def test_scopes_come_one_way(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "scopes.json"
    path.write_text("[]")
    resource_id = create(command)
    both = command("admin", "resource", "update", "--id", resource_id, "--scopes", "a", "--scopes-file", str(path))
    assert both.err == "error: --scopes and --scopes-file exclude each other\n"
    for words in (("--scopes", "a"), ("--scopes-file", str(path))):
        done = command("admin", "resource", "update", "--id", resource_id, "--scopes-clear", *words)
        assert done.err == "error: --scopes-clear excludes --scopes and --scopes-file\n"
    done = command("admin", "resource", "update", "--id", resource_id, "--policy-clear", "--policy-allowed-clients", "")
    assert done.err == "error: --policy-clear excludes the other policy flags\n"


def test_a_description_is_ignored_with_a_warning(command: Command) -> None:
    done = command("admin", "resource", "create", "--slug=a", "--backend-kind=mint", "--description", "x")
    assert (done.code, done.err) == (0, "warning: --description is ignored\n")
    assert "--description" not in command("admin", "resource", "create", "--help").out


def test_a_slug_is_given_once(command: Command) -> None:
    create(command)
    done = command("admin", "resource", "create", "--slug", "notes", "--backend-kind", "mint")
    assert (done.code, done.err) == (1, 'error: slug "notes" is already in use\n')


def test_only_what_is_given_changes(command: Command) -> None:
    resource_id = create(command, "--uri", URI, *SCOPES)
    done = command("admin", "resource", "update", "--id", resource_id, "--slug", "papers", "--display-name", "Papers")
    assert (done.code, done.out, done.err) == (0, f"resource updated: id={resource_id} slug=papers\n", "")
    after = shown(command, resource_id)
    assert (after["slug"], after["display_name"], after["uri"]) == ("papers", "Papers", URI)
    assert len(list(after["scopes"] if isinstance(after["scopes"], list) else [])) == 3
    command("admin", "resource", "update", "--id", resource_id, "--scopes-clear", "--uri", "")
    after = shown(command, resource_id)
    assert (after["scopes"], after["uri"]) == ([], "")


def test_one_policy_flag_empties_the_other_lists_and_says_so(command: Command) -> None:
    client_id = create_client(command)
    resource_id = create(command, "--policy-runtime-client-ids", client_id, "--policy-allowed-clients", client_id)
    done = command("admin", "resource", "update", "--id", resource_id, "--policy-runtime-client-ids", f" {client_id},")
    assert done.code == 0
    assert (
        done.err == "warning: the policy is replaced whole; --policy-allowed-clients was not given and is empty now\n"
    )
    nobody: dict[str, object] = {"exchange": {"allowed_client_ids": []}, "runtime": {"client_ids": []}}
    assert shown(command, resource_id)["policy"] == nobody | {"runtime": {"client_ids": [client_id]}}
    done = command("admin", "resource", "update", "--id", resource_id, "--policy-clear")
    assert (done.code, done.err) == (0, "")
    assert shown(command, resource_id)["policy"] == nobody


def test_a_list_that_is_emptied_by_its_own_flag_needs_no_warning(command: Command) -> None:
    resource_id = create(command, "--policy-runtime-client-ids", create_client(command))
    done = command("admin", "resource", "update", "--id", resource_id, "--policy-runtime-client-ids", "")
    assert (done.code, done.err) == (0, "")


def test_a_resource_is_deleted(command: Command) -> None:
    resource_id = create(command)
    done = command("admin", "resource", "delete", "--id", resource_id)
    assert (done.code, done.out) == (0, f"resource deleted: id={resource_id}\n")
    assert command("admin", "resource", "list").out == "no resources found\n"


@pytest.mark.parametrize("verb", ["get", "update", "delete"])
def test_an_unknown_resource_is_refused(command: Command, verb: str) -> None:
    assert command("admin", "resource", verb, "--id", "none").err == "error: resource not found: none\n"
    assert command("admin", "resource", verb).err == "error: --id is required\n"


def test_runtime_clients_come_and_go(command: Command, database_target: str) -> None:
    create(command)
    one, two = create_client(command), create_client(command)
    words = ("admin", "resource", "runtime-client")

    def change(verb: str, client_id: str) -> str:
        return command(*words, verb, "--slug", "notes", "--client-id", client_id).out

    assert command(*words, "list", "--slug", "notes").out == "slug=notes client_ids=[]\n"
    assert change("add", one) == f"runtime client added: slug=notes client_id={one} client_ids=[{one}]\n"
    assert change("add", two) == f"runtime client added: slug=notes client_id={two} client_ids=[{one},{two}]\n"
    assert command(*words, "list", "--slug", "notes").out == f"slug=notes client_ids=[{one},{two}]\n"
    assert json.loads(command(*words, "list", "--slug", "notes", "--json").out) == {"client_ids": [one, two]}
    assert change("remove", one) == f"runtime client removed: slug=notes client_id={one} client_ids=[{two}]\n"
    assert audited(database_target)[-1].action == "resource.policy.runtime.client.removed"


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_runtime_clients_need_a_slug_and_a_client(command: Command, verb: str) -> None:
    words = ("admin", "resource", "runtime-client", verb)
    assert command(*words, "--client-id", "x").err == "error: --slug is required\n"
    assert command(*words, "--slug", "x").err == "error: --client-id is required\n"
    assert command(*words, "--slug", "x", "--client-id", "y").err == "error: resource not found: x\n"


def test_a_resource_demands_bound_tokens_until_its_policy_says_otherwise(command: Command) -> None:
    resource_id = create(command, "--uri", URI, "--policy-dpop-required", "true")
    policy = shown(command, resource_id)["policy"]
    assert isinstance(policy, dict)
    assert policy["dpop"] == {"required": True}
    done = command("admin", "resource", "update", "--id", resource_id, "--policy-allowed-return-urls", "")
    assert "--policy-dpop-required was not given" in done.err
    policy = shown(command, resource_id)["policy"]
    assert isinstance(policy, dict)
    assert "dpop" not in policy
