"""Where Prometheus and its ``promtool`` are: on the path, or where ``make setup`` unpacks them."""

import shutil
import sys
from pathlib import Path

_UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"


def prometheus_program(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``.

    Raises:
        RuntimeError: It is not on this machine.
    """
    found = shutil.which(name, path=str(_UNPACKED)) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not here: `make setup` fetches the Debian package prometheus")
    return found
