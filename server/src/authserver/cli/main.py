"""The command tree. Commands are imported when they are asked for, so that ``version`` does not wait for a database driver."""

import sys

import click

from authserver.cli.lazy import LazyGroup
from authserver.config.declaring import ConfigError

_COMMANDS = {
    "serve": "authserver.cli.serve",
    "quickstart": "authserver.cli.quickstart",
    "migrate": "authserver.cli.migrate",
    "purge": "authserver.cli.purge",
    "version": "authserver.cli.version",
    "config": "authserver.cli.config",
    "admin": "authserver.cli.admin.group",
}


@click.group(
    cls=LazyGroup,
    modules=_COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config", "config_path", metavar="PATH", help="The configuration file; without it, defaults and environment."
)
@click.pass_context
def cli(ctx: click.Context, config_path: str | None) -> None:
    """AuthPlane: OAuth 2.1 authorization server for the Model Context Protocol."""
    ctx.obj = config_path
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process: 0 on success, 1 on any failure, with one line on stderr."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        result = cli.main(arguments, prog_name="authserver", standalone_mode=False)
    except click.ClickException as exc:
        return _fail(exc.format_message())
    except click.Abort:
        return 1
    except ConfigError as exc:
        return _fail(str(exc))
    except Exception as exc:
        if not _is_expected(exc):
            raise
        return _fail(str(exc))
    return result if isinstance(result, int) else 0


def _fail(message: str) -> int:
    click.echo(f"error: {message}", err=True)
    return 1


def _is_expected(exc: Exception) -> bool:
    """Whether a failure is one that its message explains; anything else is a bug and keeps its traceback."""
    # Imported here: a command that fails this way has loaded them already.
    from authserver.keys.keystore import KeyStoreError  # noqa: PLC0415
    from authserver.maintenance.seed import SeedError  # noqa: PLC0415
    from authserver.protocol.operator_errors import OperatorError  # noqa: PLC0415
    from authserver.storage.database import StorageUnavailable  # noqa: PLC0415
    from authserver.storage.migrate import MigrationError  # noqa: PLC0415
    from authserver.web.run import ListenError  # noqa: PLC0415

    return isinstance(
        exc, KeyStoreError | SeedError | OperatorError | StorageUnavailable | MigrationError | ListenError
    )
