"""Makes the OpenAPI document of the admin API from its table of endpoints."""

import json
import tomllib
from pathlib import Path

from authserver.admin.api.table import TABLE
from authserver.admin.openapi import build_document


def admin_document() -> str:
    """Return the document, for the file in ``docs/``: it belongs to the source beside it, whatever is installed."""
    project = Path(__file__).parents[1] / "server" / "pyproject.toml"
    version = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    return json.dumps(build_document(TABLE, version=version), indent=2, ensure_ascii=False) + "\n"
