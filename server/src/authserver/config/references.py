"""Secrets by reference: a key names an environment variable, which is read when the secret is used."""

import re
from collections.abc import Mapping

from authserver.config.declaring import ConfigError
from authserver.config.secret import Secret

# Without the prefix a reference could point at any variable of the process.
_NAME = re.compile(r"(?:CONNECTOR_|AUTHPLANE_VAULT_)[A-Z][A-Z0-9_]*")


def is_reference_name(name: str) -> bool:
    """Whether a reference may name this variable."""
    return _NAME.fullmatch(name) is not None


def read_reference(name: str, environ: Mapping[str, str], *, any_name: bool = False) -> Secret:
    """Return the secret that a reference names.

    Args:
        name: The variable.
        environ: The environment; ``loader.process_environment()`` outside tests.
        any_name: The name came from a deprecated key, which had no rule for names.

    Raises:
        ConfigError: The variable may not be named, is not set or is empty.
    """
    if not any_name and not is_reference_name(name):
        raise ConfigError(f"{name} may not be referred to: the name must begin with CONNECTOR_ or AUTHPLANE_VAULT_")
    if not environ.get(name):
        raise ConfigError(f"the environment variable {name} is not set")
    return Secret(environ[name])
