"""Every command has the same output, the same effect and the same audit rows here and through a server.

A noun is added with a script: its commands in an order in which each finds what it works on, and no list has two rows of
one second, whose order nobody knows. No script needs another.
"""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from authserver.cli.tree import cli
from authserver.protocol.identifiers import new_id, spell_id
from authserver.tokens.records import Issuance, IssuanceKind
from authserver.tokens.store import append_issuance
from server.tests.cli.both_modes import Step, in_words_and_json, run_script, through_a_server
from server.tests.cli.terminal import Command
from server.tests.cli.test_main import every_command
from server.tests.conftest import open_target

NOW = 1_790_000_000
MACHINE_TOKEN = Issuance(
    id=new_id(NOW * 1000),
    token_digest=None,
    kind=IssuanceKind.MACHINE,
    subject="machine",
    client_id="machine",
    resource_id=None,
    scopes=("read",),
    authorization_id=None,
    issued_at=NOW,
    expires_at=NOW + 10 * 365 * 24 * 3600,
    parent_jti=None,
)

CLIENT = (
    *in_words_and_json("client list"),
    Step(
        "client create --name Ada --redirect-uris http://127.0.0.1/cb,https://a.example/cb --scope read",
        {"client": "id"},
    ),
    Step(
        "client create --name Confidential --auth-method client_secret_basic --redirect-uris http://127.0.0.1/cb --json"
    ),
    Step("client create --name Agent --agent --agent-description Books --auth-method client_secret_post"),
    Step("client create --name Bad --redirect-uris nonsense"),
    Step("client update --id {client} --name Grace --scope read"),
    Step("client update --id {client} --redirect-uris https://b.example/cb --json"),
    Step("client update --id nobody --name Grace"),
    Step("client rotate-secret --id {client}"),
    *in_words_and_json("client get --id {client}"),
    Step("client get --id https://client.example/metadata?x=1"),
    Step("client suspend --id {client}"),
    Step("client suspend --id {client}"),
    Step("client reactivate --id {client} --json"),
    Step("client revoke --id {client}"),
    *in_words_and_json("client list --status revoked"),
    *in_words_and_json("client list --limit 1 --source dcr"),
    Step("client delete --id {client} --force"),
    Step("client delete --id {client} --json"),
)
USER = (
    *in_words_and_json("user list"),
    Step(
        "user create --email ada@example.com --password-stdin --name Ada --role admin",
        {"user": "id"},
        "correct horse\n",
    ),
    Step("user create --email ADA@example.com --password x"),
    Step("user create --email ada --password x"),
    Step("user update --id {user} --name Countess"),
    Step("user update --id {user} --email countess@example.com --json"),
    Step("user set-password --id {user} --password-stdin", stdin="another horse\n"),
    Step("user disable --id {user}"),
    Step("user disable --id {user}"),
    *in_words_and_json("user list"),
    Step("user create --email grace@example.com --password-stdin --json", stdin="correct horse\n"),
    Step("user enable --id {user} --json"),
    Step("user force-logout --id {user}"),
    Step("user force-logout --id {user} --json"),
    Step("user delete --id {user}"),
    Step("user delete --id {user}"),
)
DCR = (
    *in_words_and_json("dcr get"),
    Step("dcr set --mode admin_only"),
    Step("dcr set --mode shut"),
    Step("dcr set --mode approved_redirects --json"),
    *in_words_and_json("dcr get"),
)
KEY = (
    *in_words_and_json("key list"),
    Step("key rotate", {"first": "kid"}),
    Step("key retire --kid {first}"),
    Step("key retire --kid nothing"),
    Step("key rotate --json"),
    Step("key retire --kid {first}"),
    *in_words_and_json("key list"),
)
OPERATOR = (
    *in_words_and_json("operator list"),
    Step("operator create --name ada --role auditor --expires-in 720h"),
    Step("operator create --name grace --role operator --json"),
    Step("operator create --name ada --role owner"),
    Step("operator create --name joan --role auditor --resource nowhere"),
    Step("operator create --name far --role auditor --expires-in 99999999h"),
    Step("operator revoke --name ada"),
    Step("operator revoke --name nobody"),
    *in_words_and_json("operator list"),
)
TOKEN = (
    *in_words_and_json("token list"),
    *in_words_and_json("token list --client machine --limit 1"),
    *in_words_and_json("token list --user nobody"),
    Step(f"token revoke --jti {spell_id(MACHINE_TOKEN.id)}"),
    Step("token revoke --jti nothing"),
    *in_words_and_json("token list --offset 1"),
)
SCRIPTS: dict[str, Sequence[Step]] = {
    "client": CLIENT,
    "user": USER,
    "dcr": DCR,
    "key": KEY,
    "operator": OPERATOR,
    "token": TOKEN,
}


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database with a token in it."""
    path = tmp_path_factory.mktemp("modes") / "template.db"
    shutil.copy(sqlite_template, path)

    async def write() -> None:
        db = await open_target(str(path))
        await db.write(lambda tx: append_issuance(tx, MACHINE_TOKEN))
        await db.close()

    asyncio.run(write())
    return path


@pytest.mark.parametrize("noun", SCRIPTS)
def test_commands_do_the_same_here_and_through_a_server(
    terminal: Command, template: Path, tmp_path: Path, noun: str
) -> None:
    outcomes = []
    for mode in ("here", "there"):
        directory = tmp_path / mode
        directory.mkdir()
        path = str(shutil.copy(template, directory / "authserver.db"))
        settings = {"AUTHPLANE_STORAGE_SQLITE_PATH": path, "AUTHPLANE_SIGNING_KEY_PATH": str(directory / "keys")}
        if mode == "here":
            outcomes.append(run_script(SCRIPTS[noun], terminal, path, settings))
        else:
            with through_a_server(settings) as remote:
                outcomes.append(run_script(SCRIPTS[noun], terminal, path, remote))
    here, there = outcomes
    assert [told[1] for told in here.told].count(0) > len(here.told) // 2
    assert here.told == there.told
    assert here.tables == there.tables
    assert (set(here.addresses), set(there.addresses)) == ({""}, {"127.0.0.1"})


def test_every_command_of_these_nouns_is_in_its_script() -> None:
    group = cli.get_command(click.Context(cli), "admin")
    assert isinstance(group, click.Group)
    for noun, steps in SCRIPTS.items():
        below = group.get_command(click.Context(group), noun)
        assert isinstance(below, click.Group)
        # What works on the database itself has no other mode.
        every = {
            words
            for words, command in every_command(below, (noun,)).items()
            if not isinstance(command, click.Group) and getattr(command.callback, "__name__", "") != "refuse_server"
        }
        assert every - {step.words for step in steps} == set()
