import re
from pathlib import Path

import pytest
import yaml

from authserver.audit.events import Action
from server.tests.telemetry.shipped import ROOT, RULES, check_refers_to_what_exists, promtool, rules

# The contract's, with their severities.
CONTRACT = {
    ("RefreshTokenReuse", "critical", ""),
    ("RevocationFamilyFailed", "critical", ""),
    ("RevocationDenylistFailed", "warning", ""),
    ("AuthCodeReuse", "critical", ""),
    ("AuthCodeReuse", "warning", ""),
    ("AuditEventsDropped", "warning", ""),
    ("CIMDFetchSuppressedSpike", "warning", "5m"),
    ("HTTPServerErrorRatio", "warning", "5m"),
    ("TokenIssuanceP99Slow", "warning", "5m"),
    ("HighAuthDenialRate", "warning", "5m"),
}


def test_the_group_has_the_alerts_of_the_contract() -> None:
    shipped = {
        (rule["alert"], rule["labels"]["severity"], rule.get("for", ""))
        for group, rule in rules("authplane.rules.yml")
        if group == "authplane"
    }
    assert shipped == CONTRACT


def test_prometheus_accepts_the_rules_and_the_example_of_a_configuration() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "authplane.rules.yml", directory=RULES)
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml", directory=RULES)


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "authplane.rules.test.yml", directory=RULES)


def test_each_alert_is_tried_firing_and_quiet() -> None:
    tried: dict[str, set[bool]] = {}
    for test in yaml.safe_load((RULES / "authplane.rules.test.yml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case.get("exp_alerts")))
    assert tried == {rule["alert"]: {True, False} for _, rule in rules("authplane.rules.yml")}


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("> 0.05", "> 0.2"),
        ("> 2\n", "> 5\n"),
        ("> 10\n", "> 30\n"),
        ("> 600", "> 6000"),
        ('half="jti"', 'half="family"'),
        ("for: 5m", "for: 0m"),
        ("severity: critical", "severity: warning"),
    ],
)
def test_a_rule_that_says_something_else_does_not_pass(tmp_path: Path, change: str, to: str) -> None:
    text = (RULES / "authplane.rules.yml").read_text()
    assert change in text
    (tmp_path / "authplane.rules.yml").write_text(text.replace(change, to))
    (tmp_path / "authplane.rules.test.yml").write_bytes((RULES / "authplane.rules.test.yml").read_bytes())
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", "authplane.rules.test.yml", directory=tmp_path)


def test_alerts_refer_to_series_and_labels_that_exist() -> None:
    for _, rule in rules("authplane.rules.yml"):
        check_refers_to_what_exists(rule["expr"])


def test_what_the_log_must_say_for_an_alert_is_what_the_server_says() -> None:
    source = "".join(path.read_text() for path in (ROOT / "server" / "src").rglob("*.py"))
    messages = [re.findall(r"\|= `([^`]+)`", rule["expr"]) for _, rule in rules("authplane.loki.yml")]
    assert len(messages) == 2
    for (message,) in messages:
        assert f'("{message}"' in source


@pytest.mark.parametrize("file", ["authplane.rules.yml", "authplane.loki.yml"])
def test_every_alert_says_what_happened_and_leads_to_what_to_do(file: str) -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "observability.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for _, rule in rules(file):
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook"}
        assert notes["runbook"] == f"docs/observability.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in anchors


def test_what_the_runbooks_tell_to_run_is_there() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    known = re.findall(r"^## `authserver ([^`]+)`$", (ROOT / "docs" / "reference" / "cli.md").read_text(), re.MULTILINE)
    named = {" ".join(words.split()) for words in re.findall(r"`authserver\s+((?:[a-z]+(?:-[a-z]+)*\s*)+)", page)}
    assert len(named) >= 8
    assert [command for command in named if command not in known] == []
    assert set(re.findall(r"--action ([a-z_.]+)", page)) <= set(Action)
