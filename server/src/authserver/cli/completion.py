"""``authserver completion``: what a shell needs to complete commands, options and values."""

import click
from click.shell_completion import ShellComplete, get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> None:
    """Print the script that makes SHELL complete authserver's commands, options and values.

    For bash, in ~/.bashrc: eval "$(authserver completion bash)". For zsh the same in ~/.zshrc, behind compinit. For fish:
    authserver completion fish > ~/.config/fish/completions/authserver.fish.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError("click knows these shells")
    program = ctx.find_root().info_name or "authserver"
    completer = kind(ctx.find_root().command, {}, program, "_AUTHSERVER_COMPLETE")
    # Not its own `source`: that of bash starts bash, to ask for its version.
    click.echo(ShellComplete.source(completer))
