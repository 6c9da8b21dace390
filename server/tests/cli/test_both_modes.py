"""Every command has the same output, the same effect and the same audit rows here and through a server.

A noun is added with a script: its commands in an order in which each finds what it works on, and no list has two rows of
one second, whose order nobody knows. No script needs another.
"""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import pytest

from authserver.cli.tree import cli
from authserver.protocol.identifiers import new_id, spell_id
from authserver.resources.records import BackendKind, Resource, ResourceScope
from authserver.resources.store import insert_resource
from authserver.tokens.records import Issuance, IssuanceKind
from authserver.tokens.store import append_issuance
from server.tests.cli.both_modes import Step, in_words_and_json, run_script, through_a_server
from server.tests.cli.terminal import Command
from server.tests.cli.test_main import every_command
from server.tests.conftest import open_target

NOW = 1_790_000_000
KEY_VARIABLE, MASTER_KEY = "MASTER_KEY_OF_THE_TESTS", "5e" * 32
GATEWAY = Resource(
    id="gateway",
    slug="gw",
    display_name="",
    uri="",
    backend_kind=BackendKind.MINT,
    broker_provider_id=None,
    scopes=(ResourceScope(name="read"), ResourceScope(name="write")),
    created_at=NOW,
    updated_at=NOW,
)
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
    *in_words_and_json("client list --status revoked --last-used"),
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
RESOURCE = (
    *in_words_and_json("resource list"),
    Step("client create --name Ada --redirect-uris http://127.0.0.1/cb", {"client": "id"}),
    Step(
        "resource create --slug notes --backend-kind mint --uri https://n.example --scopes read||See", {"notes": "id"}
    ),
    Step("resource create --slug notes --backend-kind mint --json"),
    Step("resource create --slug a --backend-kind mint --policy-runtime-client-ids nobody"),
    Step("resource create --slug a --backend-kind broker --broker-provider nothing"),
    Step("resource create --slug a --backend-kind broker --json"),
    *in_words_and_json("resource get --id {notes}"),
    Step("resource get --id nothing"),
    Step("resource update --id {notes} --display-name Papers --scopes read|r --scopes write"),
    Step("resource update --id {notes} --policy-allowed-clients {client} --json"),
    Step("resource update --id {notes} --policy-runtime-client-ids {client}"),
    Step("resource update --id nothing --policy-clear"),
    Step("resource runtime-client add --slug notes --client-id {client}"),
    *in_words_and_json("resource runtime-client list --slug notes"),
    Step("resource runtime-client remove --slug notes --client-id {client}"),
    Step("resource runtime-client remove --slug nothing --client-id {client}"),
    Step("resource allowed-client add --slug notes --client-id {client} --json"),
    Step("resource allowed-client add --slug notes --client-id nobody"),
    *in_words_and_json("resource allowed-client list --slug notes"),
    Step("resource allowed-client remove --slug notes --client-id {client}"),
    Step("provider create --slug hub --display-name Hub --protocol oauth --config-data -", stdin="{}"),
    Step(
        "resource create --slug repos --backend-kind broker --broker-provider hub --scopes read|repo:read",
        {"repos": "id"},
    ),
    *in_words_and_json("resource list --broker-provider hub --backend-kind broker"),
    Step("resource return-url add --slug repos --url http://localhost:*"),
    Step("resource return-url add --slug repos --url nonsense"),
    *in_words_and_json("resource return-url list --slug repos"),
    Step("resource return-url list --slug notes"),
    Step("resource return-url remove --slug repos --url http://localhost:*"),
    Step("resource delete --id {repos}"),
    Step("resource delete --id {repos}"),
    *in_words_and_json("resource list --backend-kind broker"),
)
PROVIDER = (
    *in_words_and_json("provider list"),
    Step(
        "provider create --slug hub --display-name Hub --protocol oauth --config-data -",
        {"hub": "id"},
        '{"client_id": "abc", "client_secret": "in-clear"}',
    ),
    Step("provider create --slug hub --display-name Hub --protocol oauth --config-data -", stdin="{}"),
    Step("provider create --slug a --display-name A --protocol ftp --config-data -", stdin="{}"),
    Step("provider create --slug other --display-name O --protocol api_key --config-data - --json", stdin="{}"),
    *in_words_and_json("provider list"),
    *in_words_and_json("provider get --id {hub}"),
    Step("provider get --id nothing"),
    Step("provider update --id {hub} --slug git --display-name Git"),
    Step("provider update --id {hub} --config-data - --json", stdin='{"client_secret_ref": "CONNECTOR_HUB"}'),
    Step("provider update --id {hub} --config-data -", stdin='{"client_secret_ref": "PATH"}'),
    Step("resource create --slug repos --backend-kind broker --broker-provider git"),
    Step("provider delete --id {hub}"),
    Step("resource update --id {hub} --slug x"),
    Step("provider create --slug gone --display-name G --protocol api_key --config-data -", {"gone": "id"}, "{}"),
    Step("provider delete --id {gone}"),
    Step("provider delete --id {gone} --json"),
)
FRONTING = (
    *in_words_and_json("fronting list"),
    Step("fronting create --source gw --target api --scope-map read:read --dry-run"),
    Step("fronting create --source gw --target api --scope-map read:read --dry-run --json"),
    Step("fronting create --source gw --target api --scope-map read:read+write"),
    Step("fronting create --source gw --target api --scope-map read:read"),
    Step("fronting create --source gw --target nothing --scope-map read:read --json"),
    *in_words_and_json("fronting get --source gw --target api"),
    *in_words_and_json("fronting list --source gw"),
    *in_words_and_json("fronting list --target gw"),
    Step("fronting update --source gw --target api --scope-map write:write"),
    Step("fronting update --source gw --target api --json"),
    Step("fronting delete --source gw --target api"),
    Step("fronting delete --source gw --target api"),
)
GRANT = (
    Step("user create --email ada@example.com --password-stdin", {"user": "id"}, "correct horse\n"),
    Step("provider create --slug search --display-name S --protocol api_key --config-data -", {"search": "id"}, "{}"),
    *in_words_and_json("grant list-user-grants --user {user}"),
    *in_words_and_json("grant list-user-grants --user nobody"),
    Step("grant set-broker --user {user} --provider search --credential-file -", {"grant": "id"}, '{"api_key": "k"}'),
    Step("grant set-broker --user {user} --provider {search} --credential-file - --json", stdin='{"api_key": "l"}'),
    Step("grant set-broker --user {user} --provider search --credential-file - --scopes a,b", stdin='{"api_key": "m"}'),
    Step("grant set-broker --user {user} --provider nothing --credential-file -", stdin='{"api_key": "k"}'),
    Step("grant set-broker --user {user} --provider search --credential-file -", stdin='{"secret": "k"}'),
    *in_words_and_json("grant list-user-grants --user {user}"),
    Step("grant revoke-broker --id {grant}"),
    Step("grant revoke-broker --id nothing --json"),
    *in_words_and_json("grant list-user-grants --user {user}"),
    Step("grant revoke-consent --id nothing"),
)
ISSUANCE = (
    *in_words_and_json(f"issuance list --jti {spell_id(MACHINE_TOKEN.id)}"),
    *in_words_and_json("issuance list --client nobody"),
    *in_words_and_json(f"issuance get --id {spell_id(MACHINE_TOKEN.id)}"),
    Step("issuance list"),
    Step("issuance list --client nobody --since 31d"),
    Step("issuance get --id nothing"),
    Step(f"issuance revoke --id {spell_id(MACHINE_TOKEN.id)}"),
    Step(f"issuance revoke --id {spell_id(MACHINE_TOKEN.id)} --cascade --json"),
    Step("issuance revoke --id nothing"),
)
IDP = (
    *in_words_and_json("idp list"),
    Step("idp create --name Acme --issuer https://acme.example --jwks-uri https://acme.example/jwks", {"idp": "id"}),
    Step("idp create --name Bad --issuer nonsense --jwks-uri https://acme.example/jwks"),
    *in_words_and_json("idp show --id {idp}"),
    Step("idp update --id {idp} --name Apex --enabled false"),
    Step("idp refresh-keys --id {idp}"),
    *in_words_and_json("idp list"),
    Step("idp delete --id {idp}"),
    Step("idp delete --id {idp}"),
)
XAA = (
    Step("idp create --name Acme --issuer https://acme.example --jwks-uri https://acme.example/jwks", {"idp": "id"}),
    Step("xaa policy create --name Agents --idp-id {idp} --scopes read,write", {"policy": "id"}),
    Step("xaa policy create --name Bad --idp-id nothing"),
    *in_words_and_json("xaa policy show --id {policy}"),
    Step("xaa policy update --id {policy} --scopes-unrestricted --client-ids a,b"),
    *in_words_and_json("xaa policy list"),
    Step("xaa mapping create --idp-id {idp} --idp-subject ada", {"mapping": "id"}),
    Step("xaa mapping create --idp-id {idp} --idp-subject ada"),
    *in_words_and_json("xaa mapping list --idp-id {idp}"),
    Step("xaa mapping delete --id {mapping}"),
    Step("xaa policy delete --id {policy}"),
    Step("xaa policy delete --id {policy}"),
)
TRACE = (
    *in_words_and_json("trace list"),
    *in_words_and_json("trace list --error invalid_grant --client-id nobody --limit 1"),
    Step("trace show ref_nothing"),
)
AUDIT = (
    Step("dcr set --mode admin_only"),
    *in_words_and_json("audit list"),
    *in_words_and_json("audit list --action client.updated --since 1h"),
    *in_words_and_json("audit tail"),
    *in_words_and_json("audit checkpoint"),
    *in_words_and_json("audit delivery"),
)
SCRIPTS: dict[str, Sequence[Step]] = {
    "resource": RESOURCE,
    "provider": PROVIDER,
    "fronting": FRONTING,
    "grant": GRANT,
    "client": CLIENT,
    "user": USER,
    "dcr": DCR,
    "key": KEY,
    "operator": OPERATOR,
    "token": TOKEN,
    "issuance": ISSUANCE,
    "idp": IDP,
    "xaa": XAA,
    "trace": TRACE,
    "audit": AUDIT,
}


@pytest.fixture(scope="module")
def template(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database with a token and two resources in it."""
    path = tmp_path_factory.mktemp("modes") / "template.db"
    shutil.copy(sqlite_template, path)

    async def write() -> None:
        db = await open_target(str(path))
        await db.write(lambda tx: append_issuance(tx, MACHINE_TOKEN))
        for resource in (GATEWAY, replace(GATEWAY, id="api", slug="api", created_at=NOW + 1)):
            await db.write(partial(insert_resource, resource=resource))
        await db.close()

    asyncio.run(write())
    return path


@pytest.mark.parametrize("noun", SCRIPTS)
def test_commands_do_the_same_here_and_through_a_server(
    terminal: Command, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noun: str
) -> None:
    # The server in this process reads it, too.
    monkeypatch.setenv(KEY_VARIABLE, MASTER_KEY)
    outcomes = []
    for mode in ("here", "there"):
        directory = tmp_path / mode
        directory.mkdir()
        path = str(shutil.copy(template, directory / "authserver.db"))
        settings = {
            "AUTHPLANE_STORAGE_SQLITE_PATH": path,
            "AUTHPLANE_SIGNING_KEY_PATH": str(directory / "keys"),
            "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "aes_master",
            "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV": KEY_VARIABLE,
            KEY_VARIABLE: MASTER_KEY,
            "AUTHPLANE_XAA_ENABLED": "true",
        }
        if mode == "here":
            outcomes.append(run_script(SCRIPTS[noun], terminal, path, settings))
        else:
            with through_a_server(settings) as remote:
                outcomes.append(run_script(SCRIPTS[noun], terminal, path, remote))
    here, there = outcomes
    assert [told[1] for told in here.told].count(0) > len(here.told) // 2
    assert here.told == there.told
    assert here.tables == there.tables
    if here.tables["audit_rows"]:
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
        lines = [f"{step.line} " for step in steps]
        assert [words for words in every if not any(line.startswith(f"{' '.join(words)} ") for line in lines)] == []
