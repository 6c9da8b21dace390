import json
import re
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

CREATE = ("admin", "provider", "create")
HUB = ("--slug", "Hub", "--display-name", 'My "hub"', "--protocol", "oauth")
SECRET = "in-clear-Zq8"
ENCRYPTS = {
    "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "aes_master",
    "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV": "MASTER",
    "MASTER": "5e" * 32,
}


def create(command: Command, *words: str, config: str = "{}") -> str:
    done = command(*CREATE, *(words or HUB), "--config-data", config)
    assert done.code == 0, done.err
    return done.fields["id"]


def shown(command: Command, provider_id: str) -> dict[str, object]:
    return dict(json.loads(command("admin", "provider", "get", "--id", provider_id, "--json").out))


def test_a_provider_is_created_shown_listed_changed_and_deleted(
    command: Command, tmp_path: Path, database_target: str
) -> None:
    assert command("admin", "provider", "list").out == "no providers found\n"
    assert command("admin", "provider", "list", "--json").out == "[]\n"
    path = tmp_path / "hub.json"
    path.write_text('{"client_id": "abc", "client_secret_env": "CONNECTOR_HUB"}')
    done = command(*CREATE, *HUB, "--config-data", str(path))
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"provider created: id=[\w-]{22} slug=hub\n", done.out)
    provider_id = done.fields["id"]
    line = f'id={provider_id} slug=hub display_name="My \\"hub\\"" protocol=oauth\n'
    assert command("admin", "provider", "list").out == line
    assert command("admin", "provider", "get", "--id", provider_id).out == line
    assert shown(command, provider_id)["config_data"] == {"client_id": "abc", "client_secret_ref": "CONNECTOR_HUB"}

    update = ("admin", "provider", "update", "--id", provider_id)
    assert command(*update, "--slug", "git").out == f"provider updated: id={provider_id} slug=git\n"
    assert command(*update, "--config-data", '{"client_id": "d"}', "--display-name", "Git").code == 0
    after = shown(command, provider_id)
    assert (after["slug"], after["display_name"], after["config_data"]) == ("git", "Git", {"client_id": "d"})

    assert command("admin", "provider", "delete", "--id", provider_id).out == f"provider deleted: id={provider_id}\n"
    assert command("admin", "provider", "list").out == "no providers found\n"
    assert [(row.action, row.actor_id) for row in audited(database_target)] == [
        ("broker_provider.created", "admin"),
        ("broker_provider.patched", "admin"),
        ("broker_provider.patched", "admin"),
        ("broker_provider.deleted", "admin"),
    ]


def test_a_secret_comes_from_a_file_or_standard_input_and_is_never_printed(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "hub.json"
    path.write_text(json.dumps({"client_secret": SECRET}))
    refused = command(*CREATE, *HUB, "--config-data", str(path))
    assert (refused.code, refused.out) == (1, "")
    assert "cannot be stored without data_encryption" in refused.err
    made = command(*CREATE, *HUB, "--config-data", str(path), "--json", **ENCRYPTS)
    assert json.loads(made.out)["config_data"] == {}
    again = command(
        *("admin", "provider", "update", "--id", json.loads(made.out)["id"], "--config-data", "-"),
        stdin=path.read_text(),
        **ENCRYPTS,
    )
    assert again.code == 0
    assert SECRET not in refused.err + made.out + made.err + again.out + again.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (HUB[2:], "--slug is required"),
        (HUB[:2] + HUB[4:], "--display-name is required"),
        (HUB[:4], "--protocol is required"),
        (HUB, "--config-data is required"),
        ((*HUB, "--config-data", "nowhere.json"), "nowhere.json cannot be read"),
        ((*HUB, "--config-data", "{"), "--config-data is not JSON"),
        ((*HUB, "--config-data", "list.json"), "list.json is not a JSON object"),
        ((*HUB, "--config-data", "null.json"), "null.json is not a JSON object"),
        ((*HUB, "--config-data", "text.json"), "text.json is not JSON"),
        ((*HUB, "--config-data", "large.json"), "large.json is larger than 1 MiB"),
        ((*HUB, "--config-data", '{"a_secret": "in-clear-Zq8"}'), "config_data.a_secret must not hold a secret"),
        ((*HUB[:4], "--protocol", "apikey", "--config-data", "{}"), "protocol must be one of"),
    ],
)
def test_what_is_no_provider_is_one_line_of_error(
    command: Command, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    for name, text in (("list", "[]"), ("null", "null"), ("text", SECRET), ("large", " " * (1024 * 1024 + 1))):
        (tmp_path / f"{name}.json").write_text(text)
    done = command(*CREATE, *words)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert told in done.err
    assert SECRET not in done.err


@pytest.mark.parametrize("verb", ["get", "update", "delete"])
def test_an_unknown_provider_is_refused(command: Command, verb: str) -> None:
    assert command("admin", "provider", verb, "--id", "none").err == "error: broker provider not found: none\n"
    assert command("admin", "provider", verb).err == "error: --id is required\n"


def test_a_broker_resource_names_its_provider_by_id_or_slug(command: Command) -> None:
    provider_id = create(command)
    other = create(command, "--slug", "other", "--display-name", "Other", "--protocol", "api_key")
    words = ("admin", "resource", "create", "--backend-kind", "broker")
    by_id = command(*words, "--slug", "a", "--broker-provider", provider_id, "--scopes", "read|repo:read")
    by_slug = command(
        *words, "--slug", "b", "--broker-provider", "hub", "--policy-allowed-return-urls", "https://a.b/c"
    )
    assert (by_id.code, by_slug.code) == (0, 0), by_id.err + by_slug.err
    lines = [
        f"id={by_id.fields['id']} slug=a backend_kind=broker broker_provider_id={provider_id} uri= scopes=read→repo:read",
        f"id={by_slug.fields['id']} slug=b backend_kind=broker broker_provider_id={provider_id} uri= scopes=[]",
    ]
    for named in (provider_id, "hub"):
        listed = command("admin", "resource", "list", "--broker-provider", named, "--backend-kind", "broker")
        assert sorted(listed.out.splitlines()) == sorted(lines)
    assert command("admin", "resource", "list", "--broker-provider", "other").out == "no resources found\n"
    update = ("admin", "resource", "update", "--id", by_id.fields["id"])
    assert command(*update, "--broker-provider", "other").code == 0
    assert f"broker_provider_id={other}" in command("admin", "resource", "list", "--broker-provider", "other").out
    unknown = command(*update, "--broker-provider", "nothing")
    assert unknown.err == "error: broker provider not found: nothing\n"
    assert command(*update, "--backend-kind", "mint", "--broker-provider", "").code == 0
    refused = command("admin", "provider", "delete", "--id", provider_id)
    assert refused.err == "error: broker provider has references and cannot be deleted\n"
    urls = ("admin", "resource", "return-url")
    assert command(*urls, "list", "--slug", "b").out == "slug=b allowed_return_urls=[https://a.b/c]\n"
    removed = command(*urls, "remove", "--slug", "b", "--url", "https://a.b/c")
    assert removed.out == "return URL removed: slug=b return_url=https://a.b/c allowed_return_urls=[]\n"
