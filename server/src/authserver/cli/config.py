"""``authserver config``: what the configuration is, and whether it holds."""

import click
import orjson

from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.config.checks import check_admin_key, numbered
from authserver.config.declaring import ConfigError
from authserver.config.features import check_features
from authserver.config.loader import config_failures, load_config, process_environment, read_config
from authserver.config.schema import json_schema
from authserver.config.show import shown_values


@click.group("config", cls=Group)
def command() -> None:
    """Check and show the configuration."""


@command.command("check")
@click.pass_obj
def check(config_path: str | None) -> None:
    """Say whether the server would start with this configuration."""
    loaded = load_config(config_path)
    check_features(loaded.config)
    for notice in loaded.notices:
        if notice.level != "info":
            click.echo(f"{notice.level}: {notice.message}", err=True)
    click.echo("configuration OK")


@command.command("show")
@switch("--json", "in_json", help="Print JSON.")
@click.pass_obj
def show(config_path: str | None, *, in_json: bool) -> None:
    """Print every key, its effective value and where it came from; secrets are masked."""
    environ = process_environment()
    loaded = read_config(config_path, environ)
    shown = shown_values(loaded)
    if in_json:
        rows = [{"key": each.path, "value": each.value, "source": each.source} for each in shown]
        click.echo(as_json(rows))
    else:
        width = max(len(each.path) for each in shown)
        for each in shown:
            click.echo(f"{each.path:<{width}}  {_spell(each.value)}  ({each.source})")
    found = config_failures(loaded, environ)
    if found:
        raise ConfigError(numbered(found))
    check_admin_key(loaded.config)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(as_json(json_schema()))


def _spell(value: object) -> str:
    return value if isinstance(value, str) and value else orjson.dumps(value).decode()
