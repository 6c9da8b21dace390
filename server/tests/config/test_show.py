"""What is printed: effective values and their sources, the schema, the sample file."""

import json
import re
from pathlib import Path

import pytest
import yaml

from authserver.config.declaring import Declared, Kind, declared_keys
from authserver.config.loader import load_config, read_config
from authserver.config.model import Config
from authserver.config.schema import json_schema
from authserver.config.show import plain_value, shown_values

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "reference" / "authserver.example.yaml"
SECRET = "a-very-secret-value-of-32-chars!"


def test_every_key_is_shown_with_its_source() -> None:
    shown = {line.path: line for line in shown_values(load_config(None, {"AUTHPLANE_OAUTH_REFRESH_GRACE": "5s"}))}
    assert list(shown) == [declared.path for declared in declared_keys(Config)]
    assert (shown["oauth.refresh_grace"].value, shown["oauth.refresh_grace"].source) == (
        "5s",
        "AUTHPLANE_OAUTH_REFRESH_GRACE",
    )
    assert (shown["dcr.default_refresh_expiry"].value, shown["dcr.default_refresh_expiry"].source) == (
        "168h",
        "default",
    )


def test_no_secret_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "broker_providers: [{slug: gh, config_data:"
        f" {{client_secret: '{SECRET}', nested: {{api_key: '{SECRET}'}}, token_url: 'https://t', client_secret_ref: R}}}}]"
    )
    variables = [declared.key.env for declared in declared_keys(Config) if declared.kind is Kind.SECRET]
    loaded = read_config(str(path), {variable: SECRET for variable in variables if variable})
    printed = json.dumps([(line.path, line.value) for line in shown_values(loaded)])

    assert SECRET not in printed
    assert SECRET not in repr(loaded)
    assert {line.value for line in shown_values(loaded) if line.path == "session.secret"} == {"***"}
    assert {line.value for line in shown_values(load_config(None, {})) if line.path == "session.secret"} == {""}


def test_a_free_map_hides_what_looks_like_a_secret() -> None:
    shown = plain_value(
        Kind.MAP, {"client_secret": "x", "in": {"apiKey": "y"}, "token_url": "u", "client_secret_ref": "R"}
    )
    assert shown == {"client_secret": "***", "in": {"apiKey": "***"}, "token_url": "u", "client_secret_ref": "R"}


def test_seeded_resources_are_shown_in_full() -> None:
    environ = {"AUTHPLANE_RESOURCE_URI": "https://mcp.example/", "AUTHPLANE_RESOURCE_SCOPES": "read"}
    (line,) = [line for line in shown_values(load_config(None, environ)) if line.path == "resources"]
    assert line.source == "AUTHPLANE_RESOURCE_URI"
    assert json.loads(json.dumps(line.value))[0]["scopes"] == [{"name": "read", "upstream": "", "description": ""}]


def test_the_schema_has_every_key_with_a_default_that_it_allows() -> None:
    schema = json_schema()
    for declared in declared_keys(Config):
        node = schema
        for name in declared.path.split("."):
            node = node["properties"][name]
        assert node["description"] == declared.key.doc
        assert node["default"] == plain_value(declared.kind, declared.default)
        assert "enum" not in node or node["default"] in node["enum"]
        assert "pattern" not in node or re.search(node["pattern"], node["default"])
    assert schema["properties"]["resources"]["items"]["properties"]["scopes"]["items"]["properties"]["name"]
    json.dumps(schema)


def test_the_sample_file_as_it_is_changes_nothing() -> None:
    assert load_config(str(EXAMPLE), {}).config == load_config(None, {}).config


def test_the_sample_file_holds_every_key_at_its_default(tmp_path: Path) -> None:
    uncommented = tmp_path / "all.yaml"
    uncommented.write_text(re.sub(r"(?m)^( *)#(?! )", r"\1", EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    loaded = read_config(str(uncommented), {})

    assert {path for path, source in loaded.sources.items() if source != "file"} == set()
    assert loaded.config == load_config(None, {}).config
    assert yaml.safe_load(uncommented.read_text(encoding="utf-8"))["dpop"]["enabled"] is True


@pytest.mark.parametrize("declared", declared_keys(Config), ids=lambda declared: declared.path)
def test_every_key_stands_on_the_reference_page(declared: Declared) -> None:
    page = (EXAMPLE.parent / "configuration.md").read_text(encoding="utf-8")
    assert f"| `{declared.path}` |" in page
