import re
from pathlib import Path
from typing import Any

import pytest

from server.tests.telemetry.shipped import (
    check_refers_to_what_exists,
    dashboards,
    expressions,
    labels_by_series,
    promtool,
)

# What Grafana puts in the place of its variables.
GRAFANA = {"$__rate_interval": "1m", "$job": ".+"}
PARTS = ("_bucket", "_count", "_sum")


def test_the_dashboards_have_the_names_of_the_contract() -> None:
    assert {(name, each["uid"], each["title"]) for name, each in dashboards().items()} == {
        ("authplane-overview", "authplane-overview", "Authplane Overview"),
        ("authplane-security", "authplane-security", "Authplane Security"),
        ("authplane-operations", "authplane-operations", "Authplane Operations"),
    }


@pytest.mark.parametrize("dashboard", dashboards().values(), ids=dashboards())
def test_a_dashboard_is_refreshed_and_asks_for_the_job(dashboard: dict[str, Any]) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert dashboard["refresh"] == "30s"
    assert variables["job"]["query"]["query"] == "label_values(authserver_http_requests_total, job)"
    for expr in expressions(dashboard):
        assert expr.count("authserver_") + expr.count("authplane_") == expr.count('job=~"$job"'), expr


@pytest.mark.parametrize("dashboard", dashboards().values(), ids=dashboards())
def test_no_two_panels_stand_in_one_place(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_every_instrument_is_charted() -> None:
    charted = {
        name
        for each in dashboards().values()
        for expr in expressions(each)
        for name in check_refers_to_what_exists(expr)
    }

    def instrument(name: str) -> str:
        return next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)

    assert {instrument(name) for name in labels_by_series()} == {instrument(name) for name in charted}


def test_what_is_read_from_the_database_is_never_added_up() -> None:
    gauges = [name for name in labels_by_series() if not name.endswith(("_total", *PARTS))]
    for each in dashboards().values():
        for expr in expressions(each):
            if any(re.search(rf"\b{name}\b", expr) for name in gauges):
                assert expr.startswith("max"), expr


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    lines = ["groups:", "  - name: dashboards", "    rules:"]
    count = 0
    for each in dashboards().values():
        for expr in expressions(each):
            for variable, value in GRAFANA.items():
                expr = expr.replace(variable, value)  # noqa: PLW2901  one after the other
            assert "$" not in expr
            lines += [f"      - record: panel:{count}", f"        expr: '{expr}'"]
            count += 1
    (tmp_path / "dashboards.yml").write_text("\n".join(lines).replace("panel:", "panel:n"))
    assert f"SUCCESS: {count} rules found" in promtool("check", "rules", "dashboards.yml", directory=tmp_path)
