"""What is shipped for Prometheus and Grafana, and what it may refer to."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from authserver.telemetry import metrics
from prometheus_programs import prometheus_program

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana"

_SELECTOR = re.compile(r"\b(auth(?:server|plane)_[a-z0-9_]+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"")
_BY = re.compile(r"\bby\s*\(([^)]*)\)")
_FROM_PROMETHEUS = {"job", "instance"}


def promtool(*arguments: str, directory: Path) -> str:
    """Run promtool; return what it said. A failure is the test's."""
    done = subprocess.run(
        [prometheus_program("promtool"), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def labels_by_series() -> dict[str, set[str]]:
    """Return the labels of every series that a scrape shows, by its name."""
    found: dict[str, set[str]] = {}
    instruments: list[Any] = list(metrics.REGISTRY._collector_to_names)
    for each in instruments:
        labels = set(each._labelnames)
        match each._type:
            case "counter":
                found[f"{each._name}_total"] = labels
            case "histogram":
                found |= {f"{each._name}_{part}": labels for part in ("sum", "count")}
                found[f"{each._name}_bucket"] = labels | {"le"}
            case _:
                found[each._name] = labels
    return found


def check_refers_to_what_exists(expr: str) -> set[str]:
    """Check that PromQL names series of ours, and labels that they have; return the names."""
    known = labels_by_series()
    names: set[str] = set()
    for name, matchers in _SELECTOR.findall(expr):
        assert name in known, f"{name} is no series: {expr}"
        names.add(name)
        for label in _MATCHER.findall(matchers):
            assert label in known[name] | _FROM_PROMETHEUS, f"{name} has no label {label}: {expr}"
    for grouped in _BY.findall(expr):
        for label in filter(None, (part.strip() for part in grouped.split(","))):
            assert all(label in known[name] | _FROM_PROMETHEUS for name in names), f"no label {label}: {expr}"
    assert names, f"no series of ours: {expr}"
    return names


def rules(file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every rule of a file with its group's name."""
    for group in yaml.safe_load((RULES / file).read_text())["groups"]:
        for rule in group["rules"]:
            yield group["name"], rule


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by the names of their files."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Return the PromQL of all panels."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
