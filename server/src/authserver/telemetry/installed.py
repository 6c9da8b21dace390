"""Which version of this program is installed."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """Return the version of the installed package, ``dev`` when it runs from a checkout that was not installed."""
    try:
        return installed_version("authplane-server")
    except PackageNotFoundError:
        return "dev"
