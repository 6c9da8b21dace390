"""The command tree. Commands are imported when they are asked for, so that none waits for what another needs."""

from typing import Any

import click

from authserver.cli.groups import LazyGroup
from authserver.cli.server_options import SERVER_OPTIONS, is_server_on_line

_ASKS_SERVERS = "admin"


class _Root(LazyGroup):
    """The commands; of them ``admin`` alone asks a server, however early on the line it is named."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params += SERVER_OPTIONS

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that a line names."""
        found = super().resolve_command(ctx, args)
        if found[0] != _ASKS_SERVERS and is_server_on_line(ctx):
            raise click.UsageError(f"--server is for authserver {_ASKS_SERVERS} only", ctx)
        return found


cli = _Root(
    name="authserver",
    help="AuthPlane: OAuth 2.1 authorization server for the Model Context Protocol.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    modules={
        "init": "authserver.cli.init",
        "check": "authserver.cli.check",
        "serve": "authserver.cli.serve",
        "quickstart": "authserver.cli.quickstart",
        "migrate": "authserver.cli.migrate",
        "purge": "authserver.cli.purge",
        "backup": "authserver.cli.backup",
        "restore": "authserver.cli.restore",
        "db": "authserver.cli.db",
        "version": "authserver.cli.version",
        "completion": "authserver.cli.completion",
        "doctor": "authserver.cli.doctor",
        "config": "authserver.cli.config",
        "admin": "authserver.cli.admin.group",
    },
)
