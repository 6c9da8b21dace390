"""``authserver version``."""

import click


@click.command("version")
def command() -> None:
    """Print the version of this program."""
    click.echo(f"authserver {version()}")


def version() -> str:
    """Return the version of the installed package, ``dev`` when it runs from a checkout that was not installed."""
    # Imported here: reading the package's metadata is the only thing this command does.
    from importlib.metadata import PackageNotFoundError  # noqa: PLC0415
    from importlib.metadata import version as installed  # noqa: PLC0415

    try:
        return installed("authplane-server")
    except PackageNotFoundError:
        return "dev"
