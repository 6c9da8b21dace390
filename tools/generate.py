"""Writes the files that are made from the code, or with ``--check`` says which of them differ and exits 1.

To add a file, add a line to ``GENERATED``: its path in the repository and the function that returns its text.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from generate_admin import admin_document, public_document
from generate_cli import cli_page
from generate_clients import clients_page
from generate_config import example_file, reference_page
from generate_dashboards import DASHBOARDS, dashboard
from generate_doctor import doctor_page
from generate_metrics import metrics_page
from generate_threats import threats_page

ROOT = Path(__file__).resolve().parent.parent
GENERATED: list[tuple[str, Callable[[], str]]] = [
    ("docs/reference/configuration.md", reference_page),
    ("docs/reference/authserver.example.yaml", example_file),
    ("docs/reference/cli.md", cli_page),
    ("docs/reference/metrics.md", metrics_page),
    ("docs/reference/admin-openapi.json", admin_document),
    ("docs/reference/public-openapi.json", public_document),
    ("docs/clients.md", clients_page),
    ("docs/doctor.md", doctor_page),
    ("docs/security/threats.md", threats_page),
    *((f"deploy/grafana/{uid}.json", partial(dashboard, uid)) for uid in DASHBOARDS),
]


def main(arguments: list[str]) -> int:
    """Write or check every generated file; return the exit code."""
    differing = [(ROOT / path, text) for path, make in GENERATED if _read(ROOT / path) != (text := make())]
    for path, text in differing:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} differs from the code: run `python tools/generate.py`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if differing and "--check" in arguments else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
