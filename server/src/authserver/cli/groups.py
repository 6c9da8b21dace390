"""What groups of commands have in common: they print their help when nothing follows, and take ``--config`` anywhere."""

import importlib
from typing import Any

import click

_TRUE = frozenset({"true", "t", "1"})
_FALSE = frozenset({"false", "f", "0"})


def _keep_path(ctx: click.Context, _option: click.Parameter, path: str | None) -> None:
    """Make the path the object of the context, which commands inherit from the groups before them."""
    if path is not None:
        ctx.obj = path


_CONFIG = click.Option(
    ["--config"],
    type=click.Path(),
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that a line names, and have its boolean flags written as click reads them."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, rest if command is None else _with_bare_flags(command.get_params(ctx), rest)

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


def _with_bare_flags(params: list[click.Parameter], args: list[str]) -> list[str]:
    """Return arguments with ``--flag=true`` as ``--flag``, and without what ``--flag=false`` takes back.

    Raises:
        ClickException: The value is neither.
    """
    flags = {
        name: param for param in params if isinstance(param, click.Option) and param.is_flag for name in param.opts
    }
    written: list[str] = []
    for position, arg in enumerate(args):
        if arg == "--":
            return written + args[position:]
        name, is_given, value = arg.partition("=")
        if not is_given or name not in flags:
            written.append(arg)
        elif value.lower() in _TRUE:
            written.append(name)
        elif value.lower() in _FALSE:
            written = [earlier for earlier in written if earlier not in flags[name].opts]
        else:
            raise click.ClickException(f"{name} is true or false, not {value!r}")
    return written
