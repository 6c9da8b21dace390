"""Makes the reference page of the command line from the commands themselves."""

import inspect
from collections.abc import Iterator

import click

from authserver.cli.tree import cli

_SHARED = frozenset({"--config", "--help", "--server", "--api-key", "--api-key-file"})
_INTRODUCTION = """# Command line

<!-- Made from the code by tools/generate.py; edit the commands in server/src/authserver/cli instead. -->

`authserver` does everything: it serves, and it administers. Each command reads the same configuration as the server, works
on the database and the key files directly, and asks nothing. It exits with 0 on success and with 1 on any failure, after
one line `error: …` on standard error. `--config PATH` names the configuration file and may stand anywhere on the line;
`--help` (`-h`) explains any command. Boolean flags are written bare, or with `=true` or `=false`. Where a variable is
named, it stands in for a flag that was not given.

With `--server URL` (`AUTHPLANE_ADMIN_URL`), anywhere on the line, a command of `authserver admin` works through the admin
listener of a server instead: [from elsewhere](../remote.md).
"""


def cli_page() -> str:
    """Return the page."""
    root = click.Context(cli, info_name="authserver")
    return "\n".join([_INTRODUCTION, *_sections(root)])


def _sections(ctx: click.Context) -> Iterator[str]:
    """Yield a section for each command below a group, in the order of its help."""
    assert isinstance(ctx.command, click.Group)
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=ctx)
        if isinstance(command, click.Group):
            yield from _sections(below)
        else:
            yield _section(below)


def _section(ctx: click.Context) -> str:
    help_text = inspect.cleandoc(ctx.command.help or "")
    options = [
        option
        for option in ctx.command.params
        if isinstance(option, click.Option) and not option.hidden and option.opts[0] not in _SHARED
    ]
    arguments = [param.make_metavar(ctx) for param in ctx.command.params if isinstance(param, click.Argument)]
    usage = [f"`{' '.join((ctx.command_path, *arguments))}`", ""] if arguments else []
    lines = [f"## `{ctx.command_path}`", "", *usage, help_text, ""]
    if options:
        lines += ["| Flag | Default | Variable | Meaning |", "|---|---|---|---|"]
        lines += [_row(option) for option in options]
        lines.append("")
    return "\n".join(lines)


def _row(option: click.Option) -> str:
    default = option.default if isinstance(option.default, str | int) and not isinstance(option.default, bool) else ""
    choices = ", ".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    meaning = " ".join(part for part in (option.help or "", f"One of {choices}." if choices else "") if part)
    cells = (_code(option.opts[0]), _code(str(default)), _code(str(option.envvar or "")), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
