"""``authserver admin resource runtime-client|allowed-client|return-url``: the lists of a policy, entry by entry."""

from dataclasses import dataclass
from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """How a list and its entries are called on the command line, in what it prints, and in the admin API.

    Attributes:
        path: Where the list is, behind the resource's ``policy``.
        entry: What an entry is called in what is printed.
        member: What it is called in a body, and in the query when it cannot stand in a path.
        in_path: Whether one that is removed is named in the path.
    """

    name: str
    spoken: str
    help: str
    flag: str
    entries: str
    path: str
    entry: str
    member: str
    in_path: bool


_LISTS = (
    _Words(
        name="runtime-client",
        spoken="runtime client",
        help="Which clients act as a resource: they may introspect its tokens.",
        flag="--client-id",
        entries="client_ids",
        path="runtime/client-ids",
        entry="client_id",
        member="client_id",
        in_path=True,
    ),
    _Words(
        name="allowed-client",
        spoken="allowed client",
        help="Which clients may exchange other clients' tokens for a resource.",
        flag="--client-id",
        entries="allowed_client_ids",
        path="exchange/allowed-clients",
        entry="client_id",
        member="client_id",
        in_path=True,
    ),
    _Words(
        name="return-url",
        spoken="return URL",
        help="Where the Connect flow of a broker resource may return to.",
        flag="--url",
        entries="allowed_return_urls",
        path="connect/allowed-return-urls",
        entry="return_url",
        member="url",
        in_path=False,
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
    path = f"/admin/resources/{{slug}}/policy/{words.path}"

    @group.command("add", help=f"Put a {words.spoken} on the list.")
    @slug_flag
    @entry_flag
    @calls_api()
    def add(api: Api, *, slug: str, entry: str) -> None:
        require(slug, "--slug")
        require(entry, words.flag)
        left = api.call(f"POST {path}", slug=slug, body={words.member: entry})
        api.tell(left, f"{words.spoken} added: slug={slug} {words.entry}={entry} {_spell(words, left)}")

    @group.command("remove", help=f"Take a {words.spoken} off the list.")
    @slug_flag
    @entry_flag
    @calls_api()
    def remove(api: Api, *, slug: str, entry: str) -> None:
        require(slug, "--slug")
        require(entry, words.flag)
        if words.in_path:
            left = api.call(f"DELETE {path}/{{client_id}}", slug=slug, client_id=entry)
        else:
            left = api.call(f"DELETE {path}", slug=slug, query={words.member: entry})
        api.tell(left, f"{words.spoken} removed: slug={slug} {words.entry}={entry} {_spell(words, left)}")

    @group.command("list", help="Print the list.")
    @slug_flag
    @calls_api()
    def list_(api: Api, *, slug: str) -> None:
        require(slug, "--slug")
        entries = api.call(f"GET {path}", slug=slug)
        api.tell(entries, f"slug={slug} {_spell(words, entries)}")

    return group


def _spell(words: _Words, answer: dict[str, Any]) -> str:
    return f"{words.entries}=[{','.join(answer[words.entries])}]"
