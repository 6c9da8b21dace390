"""``authserver admin``: the nouns."""

import click

from authserver.cli.lazy import LazyGroup

_NOUNS = ("client", "user", "resource", "key", "dcr")


@click.group(
    "admin",
    cls=LazyGroup,
    modules={noun: f"authserver.cli.admin.{noun}" for noun in _NOUNS},
    invoke_without_command=True,
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Work on the database and the signing keys directly, with the server running or not."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
