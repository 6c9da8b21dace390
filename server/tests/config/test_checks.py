"""Rules: every refusal, and that all of them come at once."""

import re
from dataclasses import replace
from typing import Any

import pytest

from authserver.config.checks import check_admin_key, failures
from authserver.config.declaring import ConfigError
from authserver.config.issuer import is_localhost_issuer
from authserver.config.loader import load_config
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.clients import ResourceSeed

LONG = Secret("0123456789abcdef")
AES_KEYS = {"KEY": "ab" * 32, "OLD": "cd" * 32, "SHORT": "ab" * 31}


def configured(**values: Any) -> Config:
    """Return the defaults with some keys changed, ``dcr__mode="open"``."""
    config: Config = changed(Config(), values)
    return config


def changed(section: Any, values: dict[str, Any]) -> Any:
    members: dict[str, Any] = {}
    for path, value in values.items():
        name, _, rest = path.partition("__")
        members[name] = changed(members.get(name, getattr(section, name)), {rest: value}) if rest else value
    return replace(section, **members)


def production(**values: Any) -> Config:
    return configured(
        **{
            "server__issuer": "https://as.example",
            "session__secret": LONG,
            "session__secure": True,
            "admin__api_key": LONG,
            **values,
        }
    )


def test_the_defaults_break_no_rule() -> None:
    assert failures(Config(), {}) == []


def test_a_complete_production_configuration_breaks_no_rule() -> None:
    assert failures(production(), {}) == []
    check_admin_key(production())


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"server__address": ""}, "server.address is required"),
        ({"server__address": "9000"}, "server.address must be host:port"),
        ({"server__address": ":70000"}, "server.address must be host:port"),
        ({"server__address": "::1:9000"}, "server.address must be host:port"),
        ({"admin__address": ""}, "admin.address is required"),
        ({"admin__address": ":9000"}, "admin.address must differ"),
        ({"server__trusted_proxies": ("10.0.0.0/8", "proxy")}, "server.trusted_proxies[1] must be an address"),
        ({"server__trusted_proxies": ("0.0.0.0/0",)}, "server.trusted_proxies[0] must not hold"),
        ({"server__trusted_proxies": ("::/0",)}, "server.trusted_proxies[0] must not hold"),
        ({"storage__driver": "mysql"}, "storage.driver must be one of sqlite, postgres"),
        ({"storage__sqlite__path": ""}, "storage.sqlite.path is required"),
        ({"storage__driver": "postgres"}, "storage.postgres.dsn is required"),
        (
            {"storage__driver": "postgres", "storage__postgres__dsn": LONG, "storage__postgres__max_conns": 4},
            "storage.postgres.min_conns must be at most",
        ),
        ({"signing__algorithm": "HS256"}, "signing.algorithm must be one of"),
        ({"signing__key_store": "hsm"}, "signing.key_store must be one of"),
        ({"signing__key_path": ""}, "signing.key_path is required"),
        ({"dcr__mode": ""}, "dcr.mode must be one of"),
        ({"dcr__mode": "disabled"}, "dcr.mode must be one of"),
        ({"dcr__mode": "approved_redirects"}, "dcr.approved_redirects is required"),
        ({"dcr__rate_limit_burst": 0}, "dcr.rate_limit_burst must be greater than 0"),
        ({"dcr__default_token_expiry": 0}, "dcr.default_token_expiry must be greater than 0s"),
        ({"dcr__default_refresh_expiry": -1}, "dcr.default_refresh_expiry must be greater than 0s"),
        ({"cimd__max_document_bytes": 1023}, "cimd.max_document_bytes must be at least 1024"),
        ({"cimd__max_document_bytes": 65537}, "cimd.max_document_bytes must be at most 65536"),
        ({"session__max_age": 0}, "session.max_age must be greater than 0s"),
        ({"session__same_site": "maybe"}, "session.same_site must be one of"),
        ({"session__secret": Secret(" ChangeMe ")}, "session.secret is a well-known value"),
        ({"rate_limit__requests_per_second": 0.0}, "rate_limit.requests_per_second must be greater"),
        ({"rate_limit__burst": 0}, "rate_limit.burst must be greater"),
        ({"rate_limit__auth_fail_window": 0}, "rate_limit.auth_fail_window must be greater"),
        ({"rate_limit__auth_lockout": 0}, "rate_limit.auth_lockout must be greater"),
        ({"rate_limit__max_tracked_identities": 9999}, "rate_limit.max_tracked_identities must be at least 10000"),
        ({"admin__audit_default_lookback": 0}, "admin.audit_default_lookback must be greater"),
        ({"admin__audit_max_lookback": 3600}, "admin.audit_default_lookback must be at most"),
        ({"oauth__state_max_age": 0}, "oauth.state_max_age must be greater"),
        ({"oauth__default_resource": "Not A Slug"}, "oauth.default_resource must match"),
        ({"oauth__refresh_grace": 61}, "oauth.refresh_grace must be at most 1m"),
        ({"oauth__refresh_grace": -1}, "oauth.refresh_grace must be at least 0s"),
        ({"oauth__refresh_max_lifetime": -1}, "oauth.refresh_max_lifetime must be at least 0s"),
        ({"observability__logging__level": "trace"}, "observability.logging.level must be one of"),
        ({"observability__logging__format": "xml"}, "observability.logging.format must be one of"),
        ({"observability__logging__outputs__otel": True}, "observability.logging.outputs.otel_endpoint is required"),
        ({"observability__metrics__provider": "statsd"}, "observability.metrics.provider must be one of"),
        ({"observability__metrics__provider": "both"}, "observability.metrics.otel_endpoint is required"),
        ({"observability__tracing__enabled": True}, "observability.tracing.endpoint is required"),
        ({"observability__tracing__sample_rate": 1.1}, "observability.tracing.sample_rate must be at most 1"),
        ({"client_credentials__token_expiry": 0}, "client_credentials.token_expiry must be greater"),
        ({"dpop__nonce_ttl": 0}, "dpop.nonce_ttl must be greater"),
        ({"dpop__proof_lifetime": 9}, "dpop.proof_lifetime must be at least 10s"),
        ({"dpop__proof_lifetime": 301}, "dpop.proof_lifetime must be at most 5m"),
        ({"token_exchange__max_chain_depth": 0}, "token_exchange.max_chain_depth must be at least 1"),
        ({"token_exchange__max_chain_depth": 11}, "token_exchange.max_chain_depth must be at most 10"),
        ({"token_exchange__token_expiry": 0}, "token_exchange.token_expiry must be greater"),
        ({"xaa__subject_mode": "Strict"}, "xaa.subject_mode must be one of"),
        ({"device__code_ttl": 59}, "device.code_ttl must be at least 1m"),
        ({"device__code_ttl": 1801}, "device.code_ttl must be at most 30m"),
        ({"device__interval": 0}, "device.interval must be at least 1s"),
        ({"device__interval": 61}, "device.interval must be at most 1m"),
        ({"data_encryption__driver": "rot13"}, "data_encryption.driver must be one of"),
        ({"data_encryption__driver": "aes_master"}, "data_encryption.aes_master.key_env is required"),
        ({"connect__state_secret": Secret("x" * 31)}, "connect.state_secret must have at least 32"),
        ({"connect__redirect_base_url": "http://a.example"}, "connect.redirect_base_url must be https"),
        ({"connect__redirect_base_url": "https://"}, "connect.redirect_base_url must be https"),
        ({"resources": (ResourceSeed(slug="a", backend_kind="Mint"),)}, "resources[0].backend_kind must be one of"),
    ],
)
def test_a_broken_rule_is_the_one_failure(values: dict[str, Any], start: str) -> None:
    (failure,) = failures(configured(**values), {})
    assert failure.startswith(start)


@pytest.mark.parametrize(
    ("issuer", "fault"),
    [
        ("", "is required"),
        ("as.example:9000", "must be an absolute"),
        ("ftp://as.example", "must be an absolute"),
        ("https://", "must be an absolute"),
        ("https://a b", "must be an absolute"),
        ("https://as.example\n", "must be an absolute"),
        ("https://as.example:99999", "must be an absolute"),
        ("https://as.example/", "must not end with a slash"),
        ("https://as.example/a/", "must not end with a slash"),
        ("https://as.example/a?b", "must have no query"),
        ("https://as.example/a?", "must have no query"),
        ("https://as.example/a#", "must have no query"),
        ("https://user@as.example", "must not name a user"),
    ],
)
def test_an_issuer_that_no_client_could_use_is_refused(issuer: str, fault: str) -> None:
    (failure,) = failures(production(server__issuer=issuer), {})
    assert failure.startswith(f"server.issuer {fault}")


@pytest.mark.parametrize(
    "values",
    [
        {"server__address": "[::1]:9000"},
        {"server__address": "0.0.0.0:0"},
        {"admin__enabled": False, "admin__address": ":9000"},
        {"server__trusted_proxies": ("10.0.0.5/8", "::1", "192.0.2.1")},
        {"rate_limit__enabled": False, "rate_limit__requests_per_second": 0.0, "rate_limit__burst": 0},
        {"rate_limit__auth_fail_max": 0, "rate_limit__auth_fail_window": 0, "rate_limit__max_tracked_identities": 1},
        {"dcr__rate_limit": 0.0, "dcr__rate_limit_burst": 0},
        {"storage__postgres__max_conns": 1},
        {"storage__driver": "postgres", "storage__postgres__dsn": LONG, "storage__postgres__max_conns": 0},
        {"dpop__enabled": False, "dpop__proof_lifetime": 0},
        {"connect__redirect_base_url": "http://127.0.0.1:9000"},
        {"oauth__refresh_grace": 0},
    ],
)
def test_a_rule_that_does_not_apply_is_not_broken(values: dict[str, Any]) -> None:
    assert failures(configured(**values), {}) == []


def test_the_lockout_does_not_hide_faults_of_the_limiter() -> None:
    config = configured(rate_limit__auth_fail_max=0, rate_limit__requests_per_second=0.0)
    assert len(failures(config, {})) == 1


OIDC = {
    "oidc__enabled": True,
    "oidc__issuer": "https://idp.example",
    "oidc__client_id": "us",
    "oidc__client_secret": LONG,
    "oidc__redirect_uri": "http://localhost:9000/callback",
}


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"oidc__issuer": ""}, "oidc.issuer is required"),
        ({"oidc__issuer": "http://idp.example"}, "oidc.issuer must be an https URL"),
        ({"oidc__client_id": ""}, "oidc.client_id is required"),
        ({"oidc__client_secret": Secret("")}, "oidc needs exactly one of"),
        ({"oidc__client_secret_ref": "CONNECTOR_X"}, "oidc needs exactly one of"),
        ({"oidc__redirect_uri": ""}, "oidc.redirect_uri is required"),
        ({"oidc__connector_id": "a/b"}, "oidc.connector_id must match"),
    ],
)
def test_upstream_login_is_checked_while_it_is_on(values: dict[str, Any], start: str) -> None:
    assert failures(configured(**OIDC), {}) == []
    (failure,) = failures(configured(**{**OIDC, **values}), {})
    assert failure.startswith(start)
    assert failures(configured(**{**OIDC, **values, "oidc__enabled": False}), {}) == []


VAULT = {
    "signing__key_store": "vault_transit",
    "signing__vault_transit__address": "https://vault.example",
    "signing__vault_transit__token": LONG,
}


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"signing__vault_transit__address": ""}, "signing.vault_transit.address is required"),
        ({"signing__vault_transit__token": Secret("")}, "signing.vault_transit needs exactly one"),
        (
            {"signing__vault_transit__approle__role_id": "a", "signing__vault_transit__approle__secret_id": LONG},
            "signing.vault_transit needs exactly one",
        ),
        (
            {"signing__vault_transit__approle__role_id": "a", "signing__vault_transit__token": Secret("")},
            "signing.vault_transit.approle.secret_id is required",
        ),
    ],
)
def test_vault_keys_are_checked(values: dict[str, Any], start: str) -> None:
    assert failures(configured(**VAULT), {}) == []
    (failure,) = failures(configured(**{**VAULT, **values}), {})
    assert failure.startswith(start)


def test_database_keys_need_the_database_and_encryption() -> None:
    assert [failure.split(" needs ")[1] for failure in failures(configured(signing__key_store="postgres_key"), {})] == [
        "storage.driver=postgres",
        "a data_encryption.driver",
    ]


@pytest.mark.parametrize(
    ("key", "old", "fault"),
    [
        ("KEY", "", None),
        ("KEY", "OLD", None),
        ("MISSING", "", "which is not set"),
        ("SHORT", "", "which is not 64 hexadecimal characters"),
        ("KEY", "SHORT", "old_key_env names SHORT"),
        ("KEY", "KEY", "must name another key"),
    ],
)
def test_the_master_key_is_checked_and_not_repeated(key: str, old: str, fault: str | None) -> None:
    config = configured(
        data_encryption__driver="aes_master",
        data_encryption__aes_master__key_env=key,
        data_encryption__aes_master__old_key_env=old,
    )
    found = failures(config, AES_KEYS)
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]
    assert "abab" not in str(found)


# Production


@pytest.mark.parametrize(
    ("values", "start"),
    [
        ({"server__issuer": "http://as.example"}, "server.issuer must be https"),
        ({"session__secret": Secret("")}, "session.secret is required"),
        ({"session__secret": Secret("x" * 15)}, "session.secret must have at least 16"),
        ({"session__secret": Secret("dev-secret-change-me")}, "session.secret is a well-known value"),
        ({"session__secure": False}, "session.secure must be true"),
        ({"cimd__require_https": False}, "cimd.require_https must be true"),
        ({"cimd__require_https": False, "cimd__enabled": False}, "cimd.require_https must be true"),
        ({"cimd__allow_private_addresses": True}, "cimd.allow_private_addresses must be false"),
        (OIDC, "oidc.redirect_uri must be https"),
    ],
)
def test_production_is_stricter(values: dict[str, Any], start: str) -> None:
    (failure,) = failures(production(**values), {})
    assert failure.startswith(start)
    assert "0123456789" not in failure


def test_production_rules_that_do_not_apply_are_not_broken() -> None:
    assert failures(production(cimd__enabled=False, cimd__allow_private_addresses=True), {}) == []
    insecure = production(server__issuer="http://as.example", server__allow_insecure_issuer=True)
    assert failures(insecure, {}) == []


@pytest.mark.parametrize("key", ["", "x" * 15, "changeme", " Dev-Admin-Key\n"])
def test_the_admin_key_must_be_good_in_production(key: str) -> None:
    with pytest.raises(ConfigError, match=r"invalid configuration: admin\.api_key"):
        check_admin_key(production(admin__api_key=Secret(key)))
    check_admin_key(production(admin__api_key=Secret(key), admin__enabled=False))


def test_on_localhost_the_admin_key_may_be_empty_but_not_well_known() -> None:
    check_admin_key(Config())
    check_admin_key(configured(admin__api_key=Secret("short")))
    with pytest.raises(ConfigError, match="well-known"):
        check_admin_key(configured(admin__api_key=Secret("admin")))


@pytest.mark.parametrize(
    "issuer",
    ["http://localhost", "https://localhost", "http://localhost:9000", "http://127.0.0.1/x", "https://[::1]:1/x"],
)
def test_a_developers_issuer(issuer: str) -> None:
    assert is_localhost_issuer(issuer)


@pytest.mark.parametrize(
    "issuer",
    [
        "http://localhost.evil.com",
        "http://localhost:x@evil.example",
        "http://localhost@evil.example",
        "http://localhost:1@evil.example/",
        "http://127.0.0.10",
        "http://127.0.0.2",
        "ftp://localhost",
        "https://as.example",
        "http://localhost\n",
        "",
    ],
)
def test_any_other_issuer_is_production(issuer: str) -> None:
    assert not is_localhost_issuer(issuer)


# Reporting


def test_all_failures_come_in_one_numbered_list() -> None:
    environ = {
        "AUTHPLANE_SERVER_ISSUER": "https://as.example/",
        "AUTHPLANE_DCR_MODE": "closed",
        "AUTHPLANE_OIDC_ENABLED": "true",
    }
    with pytest.raises(ConfigError) as caught:
        load_config(None, environ)
    head, *lines = str(caught.value).splitlines()
    assert head == "invalid configuration: configuration validation failed:"
    assert [re.match(r"  (\d+)\. ", line)[1] for line in lines] == ["1", "2", "3", "4", "5"]  # type: ignore[index]


def test_the_admin_key_is_judged_after_everything_else() -> None:
    environ = {"AUTHPLANE_SERVER_ISSUER": "https://as.example"}
    with pytest.raises(ConfigError, match=r"session\.secret") as caught:
        load_config(None, environ)
    assert "admin.api_key" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"admin\.api_key is required"):
        load_config(None, {**environ, "AUTHPLANE_SESSION_SECRET": "x" * 32, "AUTHPLANE_SESSION_SECURE": "1"})
