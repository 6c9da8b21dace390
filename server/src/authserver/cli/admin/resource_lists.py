"""``authserver admin resource runtime-client|allowed-client|return-url``: the lists of a policy, entry by entry."""

from dataclasses import dataclass

import click

from authserver.cli.admin.opening import as_json, require, run
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.resources.policy_lists import PolicyList


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """How a list and its entries are called on the command line and in what it prints."""

    which: PolicyList
    name: str
    spoken: str
    help: str
    flag: str
    entries: str


_LISTS = (
    _Words(
        which=PolicyList.RUNTIME_CLIENTS,
        name="runtime-client",
        spoken="runtime client",
        help="Which clients act as a resource: they may introspect its tokens.",
        flag="--client-id",
        entries="client_ids",
    ),
    _Words(
        which=PolicyList.EXCHANGE_CLIENTS,
        name="allowed-client",
        spoken="allowed client",
        help="Which clients may exchange other clients' tokens for a resource.",
        flag="--client-id",
        entries="allowed_client_ids",
    ),
    _Words(
        which=PolicyList.RETURN_URLS,
        name="return-url",
        spoken="return URL",
        help="Where the Connect flow of a broker resource may return to.",
        flag="--url",
        entries="allowed_return_urls",
    ),
)


def add_lists(command: click.Group) -> None:
    """Add a group for each list."""
    for words in _LISTS:
        command.add_command(_group(words))


def _group(words: _Words) -> Group:
    group = Group(name=words.name, help=words.help)
    slug_flag = click.option("--slug", default="", help="Required.")
    entry_flag = click.option(words.flag, "entry", default="", help="Required.")

    @group.command("add", help=f"Put a {words.spoken} on the list.")
    @slug_flag
    @entry_flag
    @click.pass_obj
    def add(config_path: str | None, *, slug: str, entry: str) -> None:
        require(slug, "--slug")
        require(entry, words.flag)
        left = run(config_path, lambda core: core.policy_lists.add(words.which, slug, entry, now=core.clock()))
        click.echo(f"{words.spoken} added: slug={slug} {words.which.entry}={entry} {_spell(words, left)}")

    @group.command("remove", help=f"Take a {words.spoken} off the list.")
    @slug_flag
    @entry_flag
    @click.pass_obj
    def remove(config_path: str | None, *, slug: str, entry: str) -> None:
        require(slug, "--slug")
        require(entry, words.flag)
        left = run(config_path, lambda core: core.policy_lists.remove(words.which, slug, entry, now=core.clock()))
        click.echo(f"{words.spoken} removed: slug={slug} {words.which.entry}={entry} {_spell(words, left)}")

    @group.command("list", help="Print the list.")
    @slug_flag
    @switch("--json", "json_wanted", help="Print JSON.")
    @click.pass_obj
    def list_(config_path: str | None, *, slug: str, json_wanted: bool) -> None:
        require(slug, "--slug")
        entries = run(config_path, lambda core: core.policy_lists.get(words.which, slug))
        click.echo(as_json({words.entries: list(entries)}) if json_wanted else f"slug={slug} {_spell(words, entries)}")

    return group


def _spell(words: _Words, entries: tuple[str, ...]) -> str:
    return f"{words.entries}=[{','.join(entries)}]"
