"""What groups of commands have in common: they print their help when nothing follows, and take ``--config`` anywhere."""

import importlib
from typing import Any

import click


def _keep_path(ctx: click.Context, _option: click.Parameter, path: str | None) -> None:
    """Make the path the object of the context, which commands inherit from the groups before them."""
    if path is not None:
        ctx.obj = path


_CONFIG = click.Option(
    ["--config"],
    metavar="PATH",
    expose_value=False,
    callback=_keep_path,
    help="The configuration file; without it, defaults and environment.",
)


class Group(click.Group):
    """A group that prints its help, and succeeds, when no command is named."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(settings | {"invoke_without_command": True}))
        self.params.append(_CONFIG)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, which takes ``--config`` too."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and _CONFIG not in command.params:
            command.params.append(_CONFIG)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or show the help."""
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return result


class LazyGroup(Group):
    """A group whose commands live in modules of their own, each as ``command``, imported when it is asked for.

    Args:
        modules: Command name to module, in the order of the help.
    """

    def __init__(self, *, modules: dict[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which help shows them."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in self._modules and cmd_name not in self.commands:
            self.add_command(importlib.import_module(self._modules[cmd_name]).command, cmd_name)
        return super().get_command(ctx, cmd_name)
