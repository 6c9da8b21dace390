"""The entry: runs the command tree, and says what went wrong in one line."""

import sys

from authserver.cli.explained import explain


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process: 0 on success, 1 on any failure, with one line on stderr."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    if arguments == ["version"]:
        # Containers ask this every few seconds to see whether they are well: it does not wait for the command tree.
        from authserver.telemetry.installed import version  # noqa: PLC0415  importlib.metadata: only who asks waits for it

        sys.stdout.write(f"authserver {version()}\n")
        return 0
    import click  # noqa: PLC0415

    from authserver.cli.tree import cli  # noqa: PLC0415

    try:
        cli.main(arguments, prog_name="authserver", standalone_mode=False)
    except click.ClickException as exc:
        return _fail(" ".join(exc.format_message().split()))
    except click.Abort:
        return 1
    except Exception as exc:
        message = explain(exc)
        if message is None:
            raise
        return _fail(message)
    return 0


def _fail(message: str) -> int:
    # A server, or a file, may have had its say in it: no terminal is to obey that.
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in message)
    sys.stderr.write(f"error: {shown}\n")
    return 1
