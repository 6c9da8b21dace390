"""Loading: what goes before what, how values are written, what ends a start."""

from pathlib import Path

import pytest

from authserver.config.declaring import ConfigError
from authserver.config.environment import with_provider
from authserver.config.loader import LoadedConfig, load_config, read_config, with_session_secret
from authserver.config.model import Config
from authserver.config.sections.clients import BrokerProviderSeed, ResourceSeed, ScopeSeed


def load(tmp_path: Path, text: str = "", **environ: str) -> LoadedConfig:
    path = tmp_path / "authserver.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(str(path), environ)


def refusal(tmp_path: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    return str(caught.value)


def messages(loaded: LoadedConfig) -> list[str]:
    return [notice.message for notice in loaded.notices]


# Layers


def test_without_file_and_environment_the_defaults_hold() -> None:
    config = load_config(None, {}).config
    assert (config.server, config.dcr, config.cimd, config.storage) == (
        Config().server,
        Config().dcr,
        Config().cimd,
        Config().storage,
    )


def test_a_file_that_does_not_exist_is_none(tmp_path: Path) -> None:
    assert load_config(str(tmp_path / "absent.yaml"), {}).config == load_config(None, {}).config


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(str(tmp_path), {})


@pytest.mark.parametrize("text", ["", "# nothing\n", "server:\n", "server:\n  issuer:\n", "~"])
def test_what_the_file_leaves_out_or_empty_keeps_its_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).config == load_config(None, {}).config


def test_the_environment_goes_before_the_file_and_each_says_so(tmp_path: Path) -> None:
    text = "dcr: {mode: admin_only, default_token_expiry: 5m}\nstorage: {sqlite: {path: a.db}}"
    loaded = load(tmp_path, text, AUTHPLANE_STORAGE_SQLITE_PATH="b.db")

    assert loaded.config.dcr.mode == "admin_only"
    assert loaded.config.dcr.default_token_expiry == 300
    assert loaded.config.storage.sqlite.path == "b.db"
    assert loaded.sources["dcr.mode"] == "file"
    assert loaded.sources["storage.sqlite.path"] == "AUTHPLANE_STORAGE_SQLITE_PATH"
    assert loaded.sources["dcr.rate_limit"] == "default"


def test_a_variable_that_is_set_to_nothing_overrides(tmp_path: Path) -> None:
    text = "oauth: {default_client_scope: read}\nserver: {allowed_origins: [https://a.example], root_aliases: true}"
    config = load(
        tmp_path,
        text,
        AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE="",
        AUTHPLANE_SERVER_ALLOWED_ORIGINS="",
        AUTHPLANE_SERVER_ROOT_ALIASES="",
    ).config
    assert (config.oauth.default_client_scope, config.server.allowed_origins, config.server.root_aliases) == (
        "",
        (),
        False,
    )


def test_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    assert (
        load(tmp_path, "nobody: {knows: 1}\n? [a, b]\n: 1\nserver: {colour: red}").config
        == load_config(None, {}).config
    )


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    text = "x: &base {mode: admin_only, rate_limit: 3}\ndcr: {<<: *base, rate_limit: 5}"
    config = load(tmp_path, text).config
    assert (config.dcr.mode, config.dcr.rate_limit) == ("admin_only", 5.0)


# Values in the file


@pytest.mark.parametrize("word", ["true", "True", "yes", "on", "ON"])
def test_words_for_true_in_the_file(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"server: {{root_aliases: {word}}}").config.server.root_aliases is True


@pytest.mark.parametrize("word", ["false", "no", "off", "Off"])
def test_words_for_false_in_the_file(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"cimd: {{enabled: {word}}}").config.cimd.enabled is False


def test_a_string_is_taken_as_it_is_written(tmp_path: Path) -> None:
    config = load(tmp_path, "storage: {sqlite: {path: 007}}\nclient_secret_pepper: 1e3").config
    assert config.storage.sqlite.path == "007"
    assert config.client_secret_pepper.reveal() == "1e3"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("server: {read_timeout: 30}", "server.read_timeout"),
        ("oauth: {refresh_grace: 0}", "oauth.refresh_grace"),
        ('oauth: {refresh_grace: "0"}', "oauth.refresh_grace"),
        ("session: {max_age: 1d}", "session.max_age"),
        ("server: {root_aliases: 1}", "server.root_aliases"),
        ('server: {root_aliases: "true"}', "server.root_aliases"),
        ("rate_limit: {burst: many}", "rate_limit.burst"),
        ("rate_limit: {burst: 1.5}", "rate_limit.burst"),
        ('rate_limit: {burst: "5"}', "rate_limit.burst"),
        ("dcr: {rate_limit: fast}", "dcr.rate_limit"),
        ("dcr: {rate_limit: .nan}", "dcr.rate_limit"),
        ("server: {allowed_origins: https://a.example}", "server.allowed_origins"),
        ("server: {allowed_origins: [[a]]}", "server.allowed_origins[0]"),
        ("server: {issuer: [a]}", "server.issuer"),
        ("storage: sqlite", "storage"),
        ("resources: {slug: a}", "resources"),
        ("resources: [a]", "resources[0]"),
        ("- a", "the document"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_line(tmp_path: Path, text: str, path: str) -> None:
    assert f"line 1: {path} must be " in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["server: {issuer: a, issuer: b}", "a: 1\nb: {c: {d: 1, d: 2}}", "server: {}\nserver: {}"]
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    assert "is given twice" in refusal(tmp_path, text)


@pytest.mark.parametrize("text", ["server: [", "a: b: c", "a: \x00", "a: *nobody"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert "is not valid YAML" in refusal(tmp_path, text)


def test_a_yaml_error_repeats_nothing_of_the_file(tmp_path: Path) -> None:
    assert "hunter2" not in refusal(tmp_path, "admin: {api_key: hunter2hunter2hunter2, : :}\n - x")
    assert "hunter2" not in refusal(tmp_path, "admin: {api_key: *hunter2hunter2hunter2}")


def test_fractions_of_lives_are_rounded_up_and_timeouts_keep_them(tmp_path: Path) -> None:
    config = load(tmp_path, "dcr: {default_token_expiry: 500ms}\nserver: {read_timeout: 1500ms}").config
    assert config.dcr.default_token_expiry == 1
    assert isinstance(config.dcr.default_token_expiry, int)
    assert config.server.read_timeout == 1.5


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ('session: {cookie_name: ""}', "session.cookie_name", "authserver_session"),
        ('signing: {key_store: ""}', "signing.key_store", "keyfile"),
        ("signing: {vault_transit: {timeout: 0s}}", "signing.vault_transit.timeout", 10),
        ("xaa: {token_expiry: 0s}", "xaa.token_expiry", 3600),
        ('xaa: {subject_mode: ""}', "xaa.subject_mode", "auto_map"),
        ("oidc: {scopes: []}", "oidc.scopes", ("openid", "email", "profile")),
        ("rate_limit: {max_tracked_identities: 0}", "rate_limit.max_tracked_identities", 250_000),
        ("session: {same_site: Strict}", "session.same_site", "strict"),
        ("observability: {logging: {level: WARN}}", "observability.logging.level", "warn"),
    ],
)
def test_blanks_stand_for_defaults_and_case_is_folded(tmp_path: Path, text: str, path: str, value: object) -> None:
    section: object = load(tmp_path, text).config
    for name in path.split("."):
        section = getattr(section, name)
    assert section == value


# Values in the environment


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("1", True), ("on", False), ("", False)])
def test_booleans_in_the_environment(text: str, value: bool) -> None:  # noqa: FBT001  a parameter of the test
    assert load_config(None, {"AUTHPLANE_SERVER_ROOT_ALIASES": text}).config.server.root_aliases is value


def test_numbers_and_durations_in_the_environment() -> None:
    environ = {
        "AUTHPLANE_RATE_LIMIT_BURST": "+7",
        "AUTHPLANE_DCR_RATE_LIMIT": "2.5e1",
        "AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY": "1h30m",
        "AUTHPLANE_SESSION_MAX_AGE": "90s",
    }
    config = load_config(None, environ).config
    assert (config.rate_limit.burst, config.dcr.rate_limit) == (7, 25.0)
    assert (config.dcr.default_token_expiry, config.session.max_age) == (5400, 90)


def test_lists_in_the_environment_are_split_and_not_trimmed() -> None:
    config = load_config(None, {"AUTHPLANE_SERVER_ALLOWED_ORIGINS": "https://a.example, b,"}).config
    assert config.server.allowed_origins == ("https://a.example", " b", "")


def test_a_bare_zero_is_a_duration_in_the_environment() -> None:
    environ = {"AUTHPLANE_SERVER_READ_TIMEOUT": "0", "AUTHPLANE_OAUTH_REFRESH_GRACE": "0"}
    config = load_config(None, environ).config
    assert (config.server.read_timeout, config.oauth.refresh_grace) == (0, 0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AUTHPLANE_RATE_LIMIT_BURST", "lots"),
        ("AUTHPLANE_RATE_LIMIT_BURST", ""),
        ("AUTHPLANE_RATE_LIMIT_BURST", " 5"),
        ("AUTHPLANE_RATE_LIMIT_BURST", "1_000"),
        ("AUTHPLANE_DCR_RATE_LIMIT", "NaN"),
        ("AUTHPLANE_DCR_RATE_LIMIT", "1e999"),
        ("AUTHPLANE_SERVER_READ_TIMEOUT", "30"),
        ("AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY", "1d"),
    ],
)
def test_a_variable_that_does_not_parse_is_ignored_and_named(tmp_path: Path, variable: str, value: str) -> None:
    text = "rate_limit: {burst: 7}\ndcr: {rate_limit: 7, default_token_expiry: 7s}\nserver: {read_timeout: 7s}"
    loaded = load(tmp_path, text, **{variable: value})

    config = loaded.config
    assert config.rate_limit.burst == config.dcr.rate_limit == config.server.read_timeout == 7
    assert config.dcr.default_token_expiry == 7
    assert [notice.fields["variable"] for notice in loaded.notices if "variable" in notice.fields] == [variable]


STRICT = [
    "AUTHPLANE_SESSION_MAX_AGE",
    "AUTHPLANE_OAUTH_STATE_MAX_AGE",
    "AUTHPLANE_ADMIN_AUDIT_DEFAULT_LOOKBACK",
    "AUTHPLANE_ADMIN_AUDIT_MAX_LOOKBACK",
    "AUTHPLANE_OAUTH_REFRESH_GRACE",
    "AUTHPLANE_OAUTH_REFRESH_MAX_LIFETIME",
]


@pytest.mark.parametrize("variable", STRICT)
def test_a_strict_duration_that_does_not_parse_ends_the_start(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} .* unit missing"):
        load_config(None, {variable: "30"})


@pytest.mark.parametrize("variable", STRICT)
def test_an_empty_strict_duration_is_passed_over_in_silence(variable: str) -> None:
    loaded = load_config(None, {variable: ""})
    assert loaded.config == load_config(None, {}).config
    assert not any("ignored" in message for message in messages(loaded))


# Retired and deprecated keys


@pytest.mark.parametrize(
    ("text", "key", "successor"),
    [
        ("resource_servers: []", "resource_servers", "backend_kind: mint"),
        ("vault_connectors: {a: 1}", "vault_connectors", "broker_providers"),
        ("vault_connect:", "vault_connect", "connect"),
        ("token_exchange: {cross_client_allowlist: []}", "token_exchange.cross_client_allowlist", "allowed_client_ids"),
    ],
)
def test_a_retired_key_ends_the_start_with_its_successor(tmp_path: Path, text: str, key: str, successor: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(f'config: legacy key "{key}" removed in v0.1.0-rc1')
    assert successor in message


def test_the_deprecated_secret_name_is_folded_and_drops_the_inline_secret(tmp_path: Path) -> None:
    loaded = load(tmp_path, "oidc: {client_secret_env: MY_SECRET, client_secret: inline}")
    assert loaded.config.oidc.client_secret_ref == "MY_SECRET"
    assert not loaded.config.oidc.client_secret
    assert [notice.fields for notice in loaded.notices if notice.message == "deprecated config key in use"] == [
        {"migration": "oidc.client_secret_env -> oidc.client_secret_ref"}
    ]


def test_the_new_secret_name_goes_before_the_deprecated_one(tmp_path: Path) -> None:
    loaded = load(tmp_path, "oidc: {client_secret_env: OLD, client_secret_ref: CONNECTOR_NEW}")
    assert loaded.config.oidc.client_secret_ref == "CONNECTOR_NEW"


# Placeholders


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("server: {issuer: '${ISSUER}'}", "server.issuer holds ${ISSUER}"),
        ("server: {allowed_origins: [a, 'x${B:-y}']}", "server.allowed_origins[1] holds ${B:-y}"),
        ("session: {secret: '${S}'}", "session.secret holds ${S}"),
        ("resources: [{slug: a, scopes: [{name: '${N}'}]}]", "resources[0].scopes[0].name holds ${N}"),
        (
            "broker_providers: [{slug: a, config_data: {b: {c: ['${D}']}}}]",
            "broker_providers[0].config_data.b.c[0] holds ${D}",
        ),
    ],
)
def test_a_placeholder_that_was_not_filled_in_is_refused_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    assert place in refusal(tmp_path, text)


def test_a_placeholder_in_a_variable_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"server\.issuer"):
        load_config(None, {"AUTHPLANE_SERVER_ISSUER": "https://${HOST}"})


@pytest.mark.parametrize("value", ["", "data/x.db"])
def test_a_placeholder_that_a_variable_overrides_is_fine(tmp_path: Path, value: str) -> None:
    loaded = load(tmp_path, "oauth: {default_client_scope: '${X}'}", AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE=value)
    assert loaded.config.oauth.default_client_scope == value


@pytest.mark.parametrize("value", ["a$b", "{x}", "$x", "${open", "$ {x}"])
def test_other_dollars_and_braces_are_legal(tmp_path: Path, value: str) -> None:
    assert load(tmp_path, f"client_secret_pepper: '{value}'").config.client_secret_pepper.reveal() == value


# Shorthands


def test_a_resource_comes_from_the_environment() -> None:
    environ = {"AUTHPLANE_RESOURCE_URI": "https://MCP.Example.com:8443/mcp", "AUTHPLANE_RESOURCE_SCOPES": "read,write"}
    loaded = load_config(None, environ)
    assert loaded.config.resources == (
        ResourceSeed(
            slug="mcp-example-com",
            uri="https://MCP.Example.com:8443/mcp",
            backend_kind="mint",
            scopes=(ScopeSeed(name="read"), ScopeSeed(name="write")),
        ),
    )
    assert loaded.sources["resources"] == "AUTHPLANE_RESOURCE_URI"


@pytest.mark.parametrize(
    ("uri", "slug"),
    [
        ("http://127.0.0.1:8000/mcp", "127-0-0-1"),
        ("http://[::1]:8000/", "1"),
        ("https://a__b..c/", "a-b-c"),
        ("https://" + "x" * 63 + ".example/", "x" * 63),
    ],
)
def test_the_slug_is_made_of_the_host(uri: str, slug: str) -> None:
    assert load_config(None, {"AUTHPLANE_RESOURCE_URI": uri}).config.resources[0].slug == slug


@pytest.mark.parametrize("uri", ["mcp", "urn:x:y", "https://___/", "http://[", "https://ü/"])
def test_a_uri_without_a_usable_host_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="AUTHPLANE_RESOURCE_URI"):
        load_config(None, {"AUTHPLANE_RESOURCE_URI": uri})


def test_a_resource_of_the_file_with_that_uri_gets_the_scopes_only(tmp_path: Path) -> None:
    text = "resources: [{slug: mine, uri: 'https://a.example/', backend_kind: mint, scopes: [{name: old}]}]"
    kept = load(tmp_path, text, AUTHPLANE_RESOURCE_URI="https://a.example/")
    replaced = load(tmp_path, text, AUTHPLANE_RESOURCE_URI="https://a.example/", AUTHPLANE_RESOURCE_SCOPES="new")

    assert [(r.slug, [s.name for s in r.scopes]) for r in kept.config.resources] == [("mine", ["old"])]
    assert [(r.slug, [s.name for s in r.scopes]) for r in replaced.config.resources] == [("mine", ["new"])]
    assert (kept.sources["resources"], replaced.sources["resources"]) == ("file", "file and AUTHPLANE_RESOURCE_URI")


def test_a_provider_of_the_environment_is_appended() -> None:
    environ = {
        "AUTHPLANE_BROKER_PROVIDER_SLUG": "github",
        "AUTHPLANE_BROKER_PROVIDER_CLIENT_ID": "abc",
        "AUTHPLANE_BROKER_PROVIDER_CLIENT_SECRET_ENV": "OLD",
        "AUTHPLANE_BROKER_PROVIDER_TOKEN_URL": "",
    }
    loaded = read_config(None, environ)
    (provider,) = loaded.config.broker_providers
    assert (provider.slug, provider.display_name, provider.protocol) == ("github", "github", "oauth")
    assert provider.config_data == {"client_id": "abc", "client_secret_ref": "OLD"}
    assert loaded.refused == ()
    assert "deprecated config key in use" in messages(loaded)


def test_a_provider_of_the_file_is_merged_with_that_of_the_environment(tmp_path: Path) -> None:
    known = BrokerProviderSeed(slug="gh", protocol="api_key", config_data={"client_id": "a", "x": 1})
    environ = {
        "AUTHPLANE_BROKER_PROVIDER_SLUG": "gh",
        "AUTHPLANE_BROKER_PROVIDER_CLIENT_ID": "b",
        "AUTHPLANE_BROKER_PROVIDER_CLIENT_SECRET_REF": "CONNECTOR_GH",
        "AUTHPLANE_BROKER_PROVIDER_CLIENT_SECRET_ENV": "OLD",
    }
    (merged,) = with_provider((known,), environ)
    assert (merged.display_name, merged.protocol) == ("gh", "api_key")
    assert merged.config_data == {"client_id": "b", "x": 1, "client_secret_ref": "CONNECTOR_GH"}

    (renamed,) = with_provider((known,), {**environ, "AUTHPLANE_BROKER_PROVIDER_DISPLAY_NAME": ""})
    assert renamed.display_name == ""


# Features that are not built


@pytest.mark.parametrize(
    "environ",
    [
        {"AUTHPLANE_OIDC_ENABLED": "true"},
        {"AUTHPLANE_CONNECT_STATE_SECRET": "x" * 32},
        {"AUTHPLANE_CONNECT_REDIRECT_BASE_URL": "https://a.example"},
        {"AUTHPLANE_CONNECT_ALLOWED_RETURN_URLS": "https://a.example"},
    ],
)
def test_switching_on_what_is_not_built_is_the_only_failure(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="this build has no such feature yet") as caught:
        load_config(None, environ)
    assert "  2. " not in str(caught.value)
    assert "xxxx" not in str(caught.value)


def test_switches_that_stay_off_are_no_failure() -> None:
    environ = {
        "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "",
        "AUTHPLANE_OIDC_ENABLED": "false",
        "AUTHPLANE_METRICS_PROVIDER": "none",
    }
    assert load_config(None, environ).config.observability.metrics.provider == "none"


# The session secret of localhost


def test_a_missing_session_secret_is_made_up_once() -> None:
    config = load_config(None, {}).config
    first, second = with_session_secret(config), with_session_secret(config)
    assert len(first.session.secret) >= 32
    assert first.session.secret != second.session.secret
    assert with_session_secret(first) is first


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHPLANE_SERVER_ADDRESS", ":9999")
    assert load_config().config.server.address == ":9999"
