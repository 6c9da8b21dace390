"""Makes the OpenAPI documents of both listeners."""

import json
import tomllib
from pathlib import Path
from typing import Any

from authserver.admin.api.table import TABLE
from authserver.admin.openapi import build_document
from authserver.discovery.openapi import build_public_document


def admin_document() -> str:
    """Return the document of the admin API, for the file in ``docs/``."""
    return _spell(build_document(TABLE, version=_version()))


def public_document() -> str:
    """Return the document of the public listener."""
    return _spell(build_public_document(version=_version()))


def _version() -> str:
    """Return the version of the source beside this tool, whatever is installed."""
    project = Path(__file__).parents[1] / "server" / "pyproject.toml"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _spell(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
