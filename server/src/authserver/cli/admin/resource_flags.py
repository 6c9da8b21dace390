"""The flags that state a resource's fields, catalogue and policy, and how they are read."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from authserver.cli.admin.files import read_json
from authserver.cli.options import split_list

F = TypeVar("F", bound=Callable[..., Any])

_MEMBERS = frozenset({"name", "upstream", "description"})

Scopes = list[dict[str, str]]
Policy = dict[str, dict[str, Any]]


def draft_flags(function: F) -> F:
    """Add the flags that ``create`` and ``update`` share."""
    for option in (
        click.option(
            "--policy-dpop-required", type=bool, help="true: every token for it must be bound by a DPoP proof."
        ),
        click.option("--policy-runtime-client-ids", help="Comma list: clients that act as the resource."),
        click.option("--policy-allowed-return-urls", help="Comma list, for broker resources."),
        click.option("--policy-allowed-clients", help="Comma list: clients that may exchange towards it."),
        click.option(
            "--scopes-file",
            type=click.Path(exists=True, dir_okay=False),
            help="JSON array of {name, upstream, description}, at most 1 MiB.",
        ),
        click.option(
            "--scopes",
            multiple=True,
            metavar="NAME|UPSTREAM|DESCRIPTION",
            help="One scope, name|upstream|description, of which the last two may be left out; may be repeated.",
        ),
        click.option("--display-name", help="Shown on the consent page."),
        click.option("--broker-provider", help="Id or slug of the provider of a broker resource."),
        click.option("--uri", help="Absolute http(s) URI: the audience of its tokens."),
    ):
        function = option(function)
    return function


def read_scopes(scopes: tuple[str, ...], scopes_file: str | None) -> Scopes | None:
    """Return the catalogue that the flags state, as the admin API takes it, or None when they state nothing.

    Raises:
        ClickException: Both flags are given, a scope has no name, or the file is no array of scopes.
    """
    if scopes and scopes_file:
        raise click.ClickException("--scopes and --scopes-file exclude each other")
    if scopes_file:
        return _read_file(scopes_file)
    return [_parse_scope(text) for text in scopes] if scopes else None


def read_policy(given: dict[str, Any]) -> Policy | None:
    """Return the policy that the flags state, or None when they state nothing. A list that is not given is empty."""
    exchange = split_list(given["policy_allowed_clients"])
    connect = split_list(given["policy_allowed_return_urls"])
    runtime = split_list(given["policy_runtime_client_ids"])
    dpop_required: bool | None = given["policy_dpop_required"]
    if exchange is None and connect is None and runtime is None and dpop_required is None:
        return None
    return {
        "exchange": {"allowed_client_ids": exchange},
        "connect": {"allowed_return_urls": connect},
        "runtime": {"client_ids": runtime},
        "dpop": {"required": dpop_required},
    }


def warn_of_emptied_lists(before: Policy, given: dict[str, Any]) -> None:
    """Say on stderr which parts of the policy are lost because the flag of another was given."""
    for flag, part, member in (
        ("--policy-allowed-clients", "exchange", "allowed_client_ids"),
        ("--policy-allowed-return-urls", "connect", "allowed_return_urls"),
        ("--policy-runtime-client-ids", "runtime", "client_ids"),
        ("--policy-dpop-required", "dpop", "required"),
    ):
        was_set = before.get(part, {}).get(member)
        if was_set and given[flag.removeprefix("--").replace("-", "_")] is None:
            click.echo(f"warning: the policy is replaced whole; {flag} was not given and is empty now", err=True)


def _parse_scope(text: str) -> dict[str, str]:
    name, _, rest = text.partition("|")
    upstream, _, description = rest.partition("|")
    if not name:
        raise click.ClickException(f"--scopes {text!r} has no name")
    return {"name": name, "upstream": upstream, "description": description}


def _read_file(path: str) -> Scopes:
    entries = read_json(path)
    if not isinstance(entries, list) or not all(_is_scope(entry) for entry in entries):
        raise click.ClickException(f"{path} is not a JSON array of objects with name, upstream, description")
    return entries


def _is_scope(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and bool(entry.get("name"))
        and entry.keys() <= _MEMBERS
        and all(isinstance(value, str) for value in entry.values())
    )
