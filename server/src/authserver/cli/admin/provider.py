"""``authserver admin provider`` (cli.md §6): the upstream services of the token vault."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.files import parse_json, read_json
from authserver.cli.groups import Group
from authserver.cli.options import require
from authserver.cli.printing import as_text

_CONFIG_HELP = (
    "What the protocol needs, as a JSON object: a file of 1 MiB at most, - for standard input, or the object itself."
    " It names the variable that holds the secret (client_secret_ref); a secret itself belongs in a file."
)
_PROTOCOL_HELP = "oauth, api_key or service_account."


@click.group("provider", cls=Group)
def command() -> None:
    """Register, change and list the upstream services that broker resources get their tokens from."""


@command.command("list")
@calls_api()
def list_(api: Api) -> None:
    """List providers by slug."""
    providers = api.call("GET /admin/broker-providers")
    api.tell_list(providers, map(_line, providers), none="no providers found")


@command.command("get")
@click.option("--id", "provider_id", default="", help="Required.")
@calls_api()
def get(api: Api, *, provider_id: str) -> None:
    """Show one provider, never its secret."""
    require(provider_id, "--id")
    provider = api.call("GET /admin/broker-providers/{id}", id=provider_id)
    api.tell(provider, _line(provider))


@command.command("create")
@click.option("--slug", default="", help="Its name here: lower-case letters, digits, hyphens. Required.")
@click.option("--display-name", default="", help="Its name on pages. Required.")
@click.option("--protocol", default="", help=f"{_PROTOCOL_HELP} Required.")
@click.option("--config-data", default="", help=f"{_CONFIG_HELP} Required.")
@calls_api()
def create(api: Api, *, slug: str, display_name: str, protocol: str, config_data: str) -> None:
    """Register a provider."""
    for value, flag in (
        (slug, "--slug"),
        (display_name, "--display-name"),
        (protocol, "--protocol"),
        (config_data, "--config-data"),
    ):
        require(value, flag)
    new = {
        "slug": slug,
        "display_name": display_name,
        "protocol": protocol,
        "config_data": _read_config(config_data),
    }
    provider = api.call("POST /admin/broker-providers", body=new)
    api.tell(provider, f"provider created: id={provider['id']} slug={provider['slug']}")


@command.command("update")
@click.option("--id", "provider_id", default="", help="Required.")
@click.option("--slug", help="Its name here.")
@click.option("--display-name", help="Its name on pages.")
@click.option("--protocol", help=_PROTOCOL_HELP)
@click.option("--config-data", help=f"{_CONFIG_HELP} It replaces the whole object; without a secret, that stays.")
@calls_api()
def update(
    api: Api,
    *,
    provider_id: str,
    slug: str | None,
    display_name: str | None,
    protocol: str | None,
    config_data: str | None,
) -> None:
    """Change a provider; what is not given stays."""
    require(provider_id, "--id")
    changes = {
        "slug": slug,
        "display_name": display_name,
        "protocol": protocol,
        "config_data": None if config_data is None else _read_config(config_data),
    }
    provider = api.call("PATCH /admin/broker-providers/{id}", id=provider_id, body=changes)
    api.tell(provider, f"provider updated: id={provider['id']} slug={provider['slug']}")


@command.command("delete")
@click.option("--id", "provider_id", default="", help="Required.")
@calls_api()
def delete(api: Api, *, provider_id: str) -> None:
    """Delete a provider that no resource and no credential refers to."""
    require(provider_id, "--id")
    answer = api.call("DELETE /admin/broker-providers/{id}", id=provider_id)
    api.tell(answer, f"provider deleted: id={provider_id}")


def find_provider_id(api: Api, named: str) -> str:
    """Return the id of the provider that is named by id or slug; what is neither is returned as it is."""
    providers = api.call("GET /admin/broker-providers")
    if any(provider["id"] == named for provider in providers):
        return named
    return next((str(provider["id"]) for provider in providers if provider["slug"] == named), named)


def _read_config(text: str) -> dict[str, Any]:
    inline = text.lstrip().startswith("{")
    config = parse_json(text, "--config-data") if inline else read_json(text)
    if not isinstance(config, dict):
        raise click.ClickException(f"{text} is not a JSON object")
    return config


def _line(provider: dict[str, Any]) -> str:
    return (
        f"id={provider['id']} slug={provider['slug']} display_name={as_text(provider['display_name'])}"
        f" protocol={provider['protocol']}"
    )
