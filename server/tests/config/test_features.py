"""The self-check of serve, the notices at boot, and secrets by reference."""

from dataclasses import replace

import pytest

from authserver.config.declaring import ConfigError
from authserver.config.features import HEADING, State, check_features, self_check
from authserver.config.loader import load_config
from authserver.config.model import Config
from authserver.config.notices import config_notices, registration_notices
from authserver.config.references import read_reference
from authserver.config.secret import Secret
from authserver.config.sections.clients import (
    CimdConfig,
    ConnectPolicySeed,
    DcrConfig,
    PolicySeed,
    ResourceSeed,
)
from authserver.config.sections.grants import (
    ClientCredentialsConfig,
    ConnectConfig,
    DpopConfig,
    OAuthConfig,
    TokenExchangeConfig,
    XaaConfig,
)
from authserver.config.sections.listeners import ServerConfig, SessionConfig
from authserver.config.sections.oidc import OidcConfig
from authserver.config.sections.storage import AesMasterConfig, DataEncryptionConfig, VaultTransitEncryptConfig

BROKER = ResourceSeed(slug="gh", backend_kind="broker")


def state(config: Config, name: str) -> tuple[State, str]:
    return next((feature.state, feature.detail) for feature in self_check(config) if feature.name == name)


def test_the_table_has_its_heading_and_its_order() -> None:
    head, *rows = check_features(load_config(None, {}).config).splitlines()
    assert head == HEADING == "=== authserver feature self-check ==="
    assert [row.split()[0] for row in rows] == [
        "data_encryption",
        "connect",
        "token_exchange",
        "client_credentials",
        "dpop",
        "dcr",
        "oauth.default_client_scope",
        "resources(seeded)",
        "xaa",
    ]
    assert {row.index(row.split()[1]) for row in rows} == {len("oauth.default_client_scope") + 2}


def test_the_contract_s_defaults_enable_the_grants() -> None:
    config = Config()
    assert state(config, "token_exchange") == (State.ENABLED, "max_chain_depth=5 token_expiry=1h")
    assert state(config, "client_credentials") == (State.ENABLED, "token_expiry=1h")
    assert state(config, "dpop") == (State.ENABLED, "proof_lifetime=1m require_nonce=false")
    assert state(config, "dcr") == (State.ENABLED, "mode=open")
    assert state(config, "xaa") == (State.ENABLED, "require_resource=false resources_with_uri=0")


ASKED = ConnectConfig(state_secret=Secret("x" * 32), redirect_base_url="https://as.example")
TRANSIT = "vault_transit_encrypt"


@pytest.mark.parametrize(
    ("config", "name", "detail"),
    [
        (Config(connect=ConnectConfig(state_secret=Secret("x" * 32))), "data_encryption", "data_encryption.driver"),
        (Config(resources=(BROKER,)), "data_encryption", "data_encryption.driver"),
        (Config(data_encryption=DataEncryptionConfig(driver="aes_master")), "data_encryption", "key_env"),
        (Config(data_encryption=DataEncryptionConfig(driver=TRANSIT)), "data_encryption", "address"),
        (
            Config(
                data_encryption=DataEncryptionConfig(
                    driver=TRANSIT, vault_transit_encrypt=VaultTransitEncryptConfig(address="https://v")
                )
            ),
            "data_encryption",
            "key_name",
        ),
        (Config(data_encryption=DataEncryptionConfig(driver="rot13")), "data_encryption", "unknown"),
        (Config(connect=ConnectConfig(redirect_base_url="https://a")), "connect", "connect.state_secret"),
        (Config(connect=ConnectConfig(allowed_return_urls=("https://a",))), "connect", "connect.state_secret"),
        (Config(connect=ConnectConfig(state_secret=Secret("x" * 32))), "connect", "connect.redirect_base_url"),
        (Config(token_exchange=TokenExchangeConfig(max_chain_depth=11)), "token_exchange", "max_chain_depth"),
        (Config(token_exchange=TokenExchangeConfig(token_expiry=0)), "token_exchange", "token_expiry"),
        (Config(client_credentials=ClientCredentialsConfig(token_expiry=0)), "client_credentials", "token_expiry"),
        (Config(dpop=DpopConfig(proof_lifetime=0)), "dpop", "proof_lifetime"),
        (Config(dpop=DpopConfig(nonce_ttl=0)), "dpop", "nonce_ttl"),
        (Config(dcr=DcrConfig(mode="closed")), "dcr", "dcr.mode"),
        (Config(dcr=DcrConfig(mode="approved_redirects")), "dcr", "approved_redirects"),
        (Config(oauth=OAuthConfig(default_client_scope="a,b")), "oauth.default_client_scope", "comma"),
        (Config(oauth=OAuthConfig(default_client_scope='a "b')), "oauth.default_client_scope", "character"),
        (Config(oauth=OAuthConfig(default_client_scope="é")), "oauth.default_client_scope", "character"),
        (Config(resources=(BROKER,)), "resources(seeded)", "allowed_return_urls of gh"),
    ],
)
def test_half_a_feature_aborts_the_start_and_names_the_key(config: Config, name: str, detail: str) -> None:
    found = state(config, name)
    assert found[0] is State.MISCONFIGURED
    assert detail in found[1]
    with pytest.raises(ConfigError, match=r"authserver boot aborted: \d feature\(s\) misconfigured"):
        check_features(config)


def test_a_seeded_broker_resource_needs_encryption_and_no_key_that_is_not_built() -> None:
    encryption = DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env="KEY"))
    policy = PolicySeed(connect=ConnectPolicySeed(allowed_return_urls=("https://a",)))
    config = Config(resources=(replace(BROKER, policy=policy),), data_encryption=encryption)
    check_features(config)
    assert state(config, "connect") == (State.DISABLED, "this build has no such feature yet")


def test_whole_features_are_enabled() -> None:
    config = Config(
        connect=ASKED,
        data_encryption=DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env="KEY")),
        oauth=OAuthConfig(default_client_scope="read  write"),
        resources=(
            replace(
                BROKER,
                uri="https://x",
                policy=PolicySeed(connect=ConnectPolicySeed(allowed_return_urls=("https://a",))),
            ),
        ),
        xaa=XaaConfig(require_resource=True),
    )
    check_features(config)
    assert state(config, "data_encryption") == (State.ENABLED, "driver=aes_master")
    assert state(config, "connect") == (State.ENABLED, "redirect_base_url=https://as.example")
    assert state(config, "oauth.default_client_scope") == (State.ENABLED, "2 scope(s)")
    assert state(config, "resources(seeded)") == (State.ENABLED, "1 ok")
    assert state(config, "xaa") == (State.ENABLED, "require_resource=true resources_with_uri=1")


def test_a_rule_without_its_feature_is_called_inert() -> None:
    config = Config(xaa=XaaConfig(enabled=False, require_resource=True))
    assert state(config, "xaa") == (State.DISABLED, "require_resource has no effect")


# Notices


QUIET = Config(
    server=ServerConfig(allowed_origins=("https://a.example",)),
    oauth=OAuthConfig(require_scope=True, default_client_scope="read"),
    session=SessionConfig(secret=Secret("x" * 32)),
)


def test_nothing_is_said_without_reason() -> None:
    assert list(config_notices(QUIET)) == []
    assert list(registration_notices(QUIET, "admin_only")) == []
    assert list(registration_notices(QUIET, "approved_redirects")) == []


@pytest.mark.parametrize(
    ("config", "level", "fragment"),
    [
        (replace(QUIET, server=ServerConfig()), "info", "server.allowed_origins is empty"),
        (replace(QUIET, cimd=CimdConfig(allow_private_addresses=True)), "warning", "cimd.allow_private_addresses=true"),
        (replace(QUIET, cimd=CimdConfig(allow_private_addresses=True)), "warning", "169.254.169.254"),
        (replace(QUIET, oauth=OAuthConfig()), "warning", "oauth.require_scope=false"),
        (replace(QUIET, session=SessionConfig()), "warning", "session.secret not configured"),
        (
            replace(QUIET, session=SessionConfig(secret=Secret("x"), fail_closed=False)),
            "warning",
            "session.fail_closed=false",
        ),
        (
            replace(QUIET, oidc=OidcConfig(enabled=True, show_local_login=False)),
            "warning",
            "oidc.show_local_login=false with no IdP button",
        ),
        (
            replace(
                QUIET,
                server=ServerConfig(
                    issuer="http://as.example", allow_insecure_issuer=True, allowed_origins=("https://a.example",)
                ),
            ),
            "warning",
            "server.allow_insecure_issuer=true",
        ),
    ],
)
def test_a_boot_notice_carries_its_fragment(config: Config, level: str, fragment: str) -> None:
    (notice,) = config_notices(config)
    assert notice.level == level
    assert fragment in notice.message


def test_a_button_makes_the_missing_form_unremarkable() -> None:
    oidc = OidcConfig(enabled=True, show_local_login=False, display_name="Company")
    assert list(config_notices(replace(QUIET, oidc=oidc))) == []


def test_open_registration_and_a_missing_ceiling_are_noticed_by_the_mode_in_force() -> None:
    opened, ceiling = registration_notices(Config(dcr=DcrConfig(mode="admin_only")), "open")
    assert "dynamic client registration is open to unauthenticated callers" in opened.message
    assert set(opened.fields) == {"config_key", "effective", "alternatives", "note"}
    assert "DEPRECATION: oauth.default_client_scope is empty" in ceiling.message
    assert ceiling.fields == {"dcr_mode": "open", "cimd_enabled": "true"}
    assert [notice.fields["dcr_mode"] for notice in registration_notices(Config(), "approved_redirects")] == [
        "approved_redirects"
    ]
    assert list(registration_notices(Config(), "admin_only")) == []


# References


def test_a_reference_is_read() -> None:
    assert read_reference("CONNECTOR_A1", {"CONNECTOR_A1": "x"}).reveal() == "x"
    assert read_reference("AUTHPLANE_VAULT_X", {"AUTHPLANE_VAULT_X": "y"}).reveal() == "y"
    assert read_reference("OLD", {"OLD": "z"}, any_name=True).reveal() == "z"


@pytest.mark.parametrize("name", ["PATH", "CONNECTOR_", "CONNECTOR_a", "connector_A", "X_CONNECTOR_A", "CONNECTOR_A\n"])
def test_a_reference_may_not_name_any_variable(name: str) -> None:
    with pytest.raises(ConfigError, match="may not be referred to"):
        read_reference(name, {name: "x"})


@pytest.mark.parametrize("environ", [{}, {"CONNECTOR_A": ""}])
def test_a_reference_to_nothing_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="CONNECTOR_A is not set"):
        read_reference("CONNECTOR_A", environ)
