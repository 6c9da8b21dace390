import json
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command


def test_a_good_configuration_is_ok_and_its_warnings_go_to_stderr(terminal: Command) -> None:
    done = terminal("config", "check")
    assert (done.code, done.out) == (0, "configuration OK\n")
    assert "warning: session.secret not configured" in done.err
    assert "server.allowed_origins" not in done.err


def test_every_fault_is_listed(terminal: Command) -> None:
    done = terminal(
        "config", "check", AUTHPLANE_SERVER_ISSUER="https://auth.example.com", AUTHPLANE_SESSION_SECRET="short"
    )
    assert (done.code, done.out) == (1, "")
    assert "  1. " in done.err
    assert "  2. " in done.err


def test_a_half_configured_feature_is_a_fault(terminal: Command) -> None:
    done = terminal("config", "check", AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE="a,b")
    assert done.code == 1
    assert "feature(s) misconfigured" in done.err


def test_show_tells_value_and_source_and_masks_secrets(terminal: Command, tmp_path: Path) -> None:
    path = tmp_path / "authserver.yaml"
    path.write_text("dcr: {mode: admin_only}\n")
    done = terminal("config", "show", "--config", str(path), AUTHPLANE_SESSION_SECRET="sssssssssssssssssssss")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert done.code == 0
    assert lines["dcr.mode"] == "admin_only  (file)"
    assert lines["session.secret"] == "***  (AUTHPLANE_SESSION_SECRET)"
    assert lines["server.issuer"] == "http://localhost:9000  (default)"
    assert lines["server.allowed_origins"] == "[]  (default)"
    assert lines["storage.postgres.dsn"] == '""  (default)'
    assert "ssss" not in done.out + done.err


def test_show_aligns_its_columns(terminal: Command) -> None:
    lines = terminal("config", "show").out.splitlines()
    assert len({len(line) - len(line.partition("  ")[2].lstrip()) for line in lines}) == 1


@pytest.mark.parametrize("flag", ["--json", "--json=true"])
def test_show_as_json(terminal: Command, flag: str) -> None:
    done = terminal("config", "show", flag, AUTHPLANE_SESSION_SECRET="sssssssssssssssssssss")
    shown = {line["key"]: line for line in json.loads(done.out)}
    assert shown["session.secret"] == {"key": "session.secret", "value": "***", "source": "AUTHPLANE_SESSION_SECRET"}
    assert done.out.startswith('[\n  {\n    "key"')


def test_show_prints_what_would_be_refused_and_why(terminal: Command) -> None:
    done = terminal("config", "show", AUTHPLANE_SERVER_ISSUER="https://auth.example.com")
    assert done.code == 1
    assert "https://auth.example.com" in done.out
    assert "session.secret is required" in done.err


def test_schema_is_json_schema(terminal: Command) -> None:
    done = terminal("config", "schema")
    schema = json.loads(done.out)
    assert done.code == 0
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "issuer" in schema["properties"]["server"]["properties"]
