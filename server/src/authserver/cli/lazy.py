"""Groups that import a command when it is asked for."""

import importlib
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, each as ``command``."""

    def __init__(self, *, modules: dict[str, str], **settings: Any) -> None:
        super().__init__(**settings)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which help shows them."""
        del ctx
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        module = self._modules.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


class HelpfulGroup(click.Group):
    """A group that prints its help, and succeeds, when no command is named."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(settings | {"invoke_without_command": True}))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or show the help."""
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return result
