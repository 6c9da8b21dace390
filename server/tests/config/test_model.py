"""The declaration is the contract: every key with its kind, default and variable, and no other."""

import pytest

from authserver.config.declaring import Kind, declared_keys
from authserver.config.durations import parse_duration
from authserver.config.model import Config
from authserver.config.secret import NO_SECRET, Secret

# path | type | default as the file spells it | environment variable
CONTRACT = """
server.issuer | string | http://localhost:9000 | AUTHPLANE_SERVER_ISSUER
server.allow_insecure_issuer | bool | false | AUTHPLANE_SERVER_ALLOW_INSECURE_ISSUER
server.root_aliases | bool | false | AUTHPLANE_SERVER_ROOT_ALIASES
server.openapi | bool | false | AUTHPLANE_SERVER_OPENAPI
device.enabled | bool | true | AUTHPLANE_DEVICE_ENABLED
device.code_ttl | duration | 10m | AUTHPLANE_DEVICE_CODE_TTL
device.interval | duration | 5s | AUTHPLANE_DEVICE_INTERVAL
traces.enabled | bool | true | AUTHPLANE_TRACES_ENABLED
traces.max | int | 10000 | AUTHPLANE_TRACES_MAX
traces.max_age | duration | 24h | AUTHPLANE_TRACES_MAX_AGE
audit.webhook.url | string |  | AUTHPLANE_AUDIT_WEBHOOK_URL
audit.webhook.secret_ref | string |  | AUTHPLANE_AUDIT_WEBHOOK_SECRET_REF
audit.webhook.allow_private_addresses | bool | false | AUTHPLANE_AUDIT_WEBHOOK_ALLOW_PRIVATE_ADDRESSES
audit.otlp.url | string |  | AUTHPLANE_AUDIT_OTLP_URL
audit.otlp.authorization_ref | string |  | AUTHPLANE_AUDIT_OTLP_AUTHORIZATION_REF
audit.otlp.allow_private_addresses | bool | false | AUTHPLANE_AUDIT_OTLP_ALLOW_PRIVATE_ADDRESSES
server.address | string | :9000 | AUTHPLANE_SERVER_ADDRESS
server.workers | string | 1 | AUTHPLANE_SERVER_WORKERS
server.read_timeout | duration | 30s | AUTHPLANE_SERVER_READ_TIMEOUT
server.write_timeout | duration | 30s | AUTHPLANE_SERVER_WRITE_TIMEOUT
server.idle_timeout | duration | 120s | AUTHPLANE_SERVER_IDLE_TIMEOUT
server.max_connections | int | 2048 | AUTHPLANE_SERVER_MAX_CONNECTIONS
server.shutdown_wait | duration | 10s | AUTHPLANE_SERVER_SHUTDOWN_WAIT
server.allowed_origins | list |  | AUTHPLANE_SERVER_ALLOWED_ORIGINS
server.trusted_proxies | list |  | AUTHPLANE_SERVER_TRUSTED_PROXIES
storage.driver | string | sqlite | AUTHPLANE_STORAGE_DRIVER
storage.sqlite.path | string | data/authserver.db | AUTHPLANE_STORAGE_SQLITE_PATH
storage.sqlite.wal | bool | true | AUTHPLANE_STORAGE_SQLITE_WAL
storage.postgres.dsn | string |  | AUTHPLANE_STORAGE_POSTGRES_DSN
storage.postgres.max_conns | int | 25 | AUTHPLANE_STORAGE_POSTGRES_MAX_CONNS
storage.postgres.min_conns | int | 5 | AUTHPLANE_STORAGE_POSTGRES_MIN_CONNS
storage.postgres.max_conn_lifetime | duration | 1h | AUTHPLANE_STORAGE_POSTGRES_MAX_CONN_LIFETIME
storage.postgres.max_conn_idle_time | duration | 30m | AUTHPLANE_STORAGE_POSTGRES_MAX_CONN_IDLE_TIME
signing.algorithm | string | ES256 | AUTHPLANE_SIGNING_ALGORITHM
signing.key_store | string | keyfile | AUTHPLANE_SIGNING_KEY_STORE
signing.key_path | string | data/keys | AUTHPLANE_SIGNING_KEY_PATH
signing.postgres_key.encryption_key_env | string |  | AUTHPLANE_SIGNING_PG_ENCRYPTION_KEY_ENV
signing.vault_transit.address | string |  | AUTHPLANE_VAULT_ADDR
signing.vault_transit.token | string |  | AUTHPLANE_VAULT_TOKEN
signing.vault_transit.mount | string | transit | AUTHPLANE_VAULT_TRANSIT_MOUNT
signing.vault_transit.key_name | string | authserver-signing | AUTHPLANE_VAULT_TRANSIT_KEY_NAME
signing.vault_transit.timeout | duration | 10s | AUTHPLANE_VAULT_TIMEOUT
signing.vault_transit.approle.role_id | string |  | AUTHPLANE_VAULT_APPROLE_ROLE_ID
signing.vault_transit.approle.secret_id | string |  | AUTHPLANE_VAULT_APPROLE_SECRET_ID
signing.vault_transit.approle.mount | string | approle | AUTHPLANE_VAULT_APPROLE_MOUNT
dcr.mode | string | open | AUTHPLANE_DCR_MODE
dcr.approved_redirects | list |  | AUTHPLANE_DCR_APPROVED_REDIRECTS
dcr.rate_limit | float | 10 | AUTHPLANE_DCR_RATE_LIMIT
dcr.rate_limit_burst | int | 100 | AUTHPLANE_DCR_RATE_LIMIT_BURST
dcr.default_token_expiry | duration | 15m | AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY
dcr.default_refresh_expiry | duration | 168h | AUTHPLANE_DCR_DEFAULT_REFRESH_EXPIRY
cimd.enabled | bool | true | AUTHPLANE_CIMD_ENABLED
cimd.require_https | bool | true | AUTHPLANE_CIMD_REQUIRE_HTTPS
cimd.allow_private_addresses | bool | false | AUTHPLANE_CIMD_ALLOW_PRIVATE_ADDRESSES
cimd.cache_ttl | duration | 1h | AUTHPLANE_CIMD_CACHE_TTL
cimd.fetch_timeout | duration | 10s | AUTHPLANE_CIMD_FETCH_TIMEOUT
cimd.max_document_bytes | int | 65536 | AUTHPLANE_CIMD_MAX_DOCUMENT_BYTES
session.cookie_name | string | authserver_session | AUTHPLANE_SESSION_COOKIE_NAME
session.max_age | strict duration | 24h | AUTHPLANE_SESSION_MAX_AGE
session.secure | bool | false | AUTHPLANE_SESSION_SECURE
session.same_site | string | lax | AUTHPLANE_SESSION_SAME_SITE
session.secret | string |  | AUTHPLANE_SESSION_SECRET
session.fail_closed | bool | true | AUTHPLANE_SESSION_FAIL_CLOSED
rate_limit.enabled | bool | true | AUTHPLANE_RATE_LIMIT_ENABLED
rate_limit.requests_per_second | float | 100 | AUTHPLANE_RATE_LIMIT_RPS
rate_limit.burst | int | 200 | AUTHPLANE_RATE_LIMIT_BURST
rate_limit.client_requests_per_second | float | 100 | AUTHPLANE_RATE_LIMIT_CLIENT_RPS
rate_limit.client_burst | int | 200 | AUTHPLANE_RATE_LIMIT_CLIENT_BURST
rate_limit.auth_fail_max | int | 10 | AUTHPLANE_RATE_LIMIT_AUTH_FAIL_MAX
rate_limit.auth_fail_window | duration | 10m | AUTHPLANE_RATE_LIMIT_AUTH_FAIL_WINDOW
rate_limit.auth_lockout | duration | 15m | AUTHPLANE_RATE_LIMIT_AUTH_LOCKOUT
rate_limit.max_tracked_identities | int | 250000 | AUTHPLANE_RATE_LIMIT_MAX_TRACKED_IDENTITIES
admin.enabled | bool | true | AUTHPLANE_ADMIN_ENABLED
admin.address | string | :9001 | AUTHPLANE_ADMIN_ADDRESS
admin.api_key | string |  | AUTHPLANE_ADMIN_API_KEY
admin.requests_per_second | float | 0 | -
admin.burst | int | 0 | -
admin.audit_default_lookback | strict duration | 24h | AUTHPLANE_ADMIN_AUDIT_DEFAULT_LOOKBACK
admin.audit_max_lookback | strict duration | 720h | AUTHPLANE_ADMIN_AUDIT_MAX_LOOKBACK
oauth.require_scope | bool | false | AUTHPLANE_OAUTH_REQUIRE_SCOPE
oauth.default_client_scope | string |  | AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE
oauth.state_max_age | strict duration | 10m | AUTHPLANE_OAUTH_STATE_MAX_AGE
oauth.default_resource | string |  | AUTHPLANE_OAUTH_DEFAULT_RESOURCE
oauth.refresh_grace | strict duration | 30s | AUTHPLANE_OAUTH_REFRESH_GRACE
oauth.refresh_max_lifetime | strict duration | 0s | AUTHPLANE_OAUTH_REFRESH_MAX_LIFETIME
oidc.enabled | bool | false | AUTHPLANE_OIDC_ENABLED
oidc.issuer | string |  | AUTHPLANE_OIDC_ISSUER
oidc.client_id | string |  | AUTHPLANE_OIDC_CLIENT_ID
oidc.client_secret | string |  | AUTHPLANE_OIDC_CLIENT_SECRET
oidc.client_secret_ref | string |  | -
oidc.client_secret_env | string |  | -
oidc.redirect_uri | string |  | AUTHPLANE_OIDC_REDIRECT_URI
oidc.display_name | string |  | AUTHPLANE_OIDC_DISPLAY_NAME
oidc.scopes | list | openid,email,profile | AUTHPLANE_OIDC_SCOPES
oidc.include_groups_scope | bool | true | AUTHPLANE_OIDC_INCLUDE_GROUPS_SCOPE
oidc.show_local_login | bool | true | AUTHPLANE_OIDC_SHOW_LOCAL_LOGIN
oidc.connector_id | string |  | AUTHPLANE_OIDC_CONNECTOR_ID
observability.logging.level | string | info | AUTHPLANE_LOG_LEVEL
observability.logging.format | string | json | AUTHPLANE_LOG_FORMAT
observability.logging.add_source | bool | false | AUTHPLANE_LOG_ADD_SOURCE
observability.logging.outputs.stdout | bool | true | AUTHPLANE_LOG_STDOUT
observability.logging.outputs.otel | bool | false | AUTHPLANE_LOG_OTEL
observability.logging.outputs.otel_endpoint | string |  | AUTHPLANE_LOG_OTEL_ENDPOINT
observability.logging.outputs.insecure | bool | false | AUTHPLANE_LOG_OTEL_INSECURE
observability.metrics.provider | string | prometheus | AUTHPLANE_METRICS_PROVIDER
observability.metrics.path | string | /metrics | AUTHPLANE_METRICS_PATH
observability.metrics.otel_endpoint | string |  | AUTHPLANE_METRICS_OTEL_ENDPOINT
observability.metrics.insecure | bool | false | AUTHPLANE_METRICS_INSECURE
observability.tracing.enabled | bool | false | AUTHPLANE_TRACING_ENABLED
observability.tracing.endpoint | string |  | AUTHPLANE_TRACING_ENDPOINT
observability.tracing.insecure | bool | false | AUTHPLANE_TRACING_INSECURE
observability.tracing.sample_rate | float | 1.0 | AUTHPLANE_TRACING_SAMPLE_RATE
client_credentials.enabled | bool | true | AUTHPLANE_CLIENT_CREDENTIALS_ENABLED
client_credentials.token_expiry | duration | 1h | AUTHPLANE_CLIENT_CREDENTIALS_TOKEN_EXPIRY
dpop.enabled | bool | true | AUTHPLANE_DPOP_ENABLED
dpop.nonce_ttl | duration | 60s | AUTHPLANE_DPOP_NONCE_TTL
dpop.proof_lifetime | duration | 60s | AUTHPLANE_DPOP_PROOF_LIFETIME
dpop.require_nonce | bool | false | AUTHPLANE_DPOP_REQUIRE_NONCE
token_exchange.enabled | bool | true | AUTHPLANE_TOKEN_EXCHANGE_ENABLED
token_exchange.allow_self_exchange | bool | false | AUTHPLANE_TOKEN_EXCHANGE_ALLOW_SELF_EXCHANGE
token_exchange.cap_to_subject | bool | false | AUTHPLANE_TOKEN_EXCHANGE_CAP_TO_SUBJECT
token_exchange.max_chain_depth | int | 5 | AUTHPLANE_TOKEN_EXCHANGE_MAX_CHAIN_DEPTH
token_exchange.token_expiry | duration | 1h | AUTHPLANE_TOKEN_EXCHANGE_TOKEN_EXPIRY
agents.enable_jwks_listing | bool | false | AUTHPLANE_AGENTS_ENABLE_JWKS_LISTING
xaa.enabled | bool | true | AUTHPLANE_XAA_ENABLED
xaa.token_expiry | duration | 1h | AUTHPLANE_XAA_TOKEN_EXPIRY
xaa.max_assertion_age | duration | 5m | AUTHPLANE_XAA_MAX_ASSERTION_AGE
xaa.require_resource | bool | false | AUTHPLANE_XAA_REQUIRE_RESOURCE
xaa.subject_mode | string | auto_map | AUTHPLANE_XAA_SUBJECT_MODE
xaa.jwks_cache_ttl | duration | 1h | AUTHPLANE_XAA_JWKS_CACHE_TTL
data_encryption.driver | string |  | AUTHPLANE_DATA_ENCRYPTION_DRIVER
data_encryption.aes_master.key_env | string |  | AUTHPLANE_DATA_ENCRYPTION_KEY_ENV
data_encryption.aes_master.old_key_env | string |  | -
data_encryption.vault_transit_encrypt.address | string |  | AUTHPLANE_DATA_ENCRYPTION_VAULT_ADDRESS
data_encryption.vault_transit_encrypt.key_name | string |  | AUTHPLANE_DATA_ENCRYPTION_VAULT_KEY_NAME
data_encryption.vault_transit_encrypt.mount_path | string | transit | AUTHPLANE_DATA_ENCRYPTION_VAULT_MOUNT_PATH
data_encryption.vault_transit_encrypt.auth_method | string | token | AUTHPLANE_DATA_ENCRYPTION_VAULT_AUTH_METHOD
data_encryption.vault_transit_encrypt.token_env | string |  | AUTHPLANE_DATA_ENCRYPTION_VAULT_TOKEN_ENV
data_encryption.vault_transit_encrypt.approle.role_id_env | string |  | AUTHPLANE_DATA_ENCRYPTION_VAULT_ROLE_ID_ENV
data_encryption.vault_transit_encrypt.approle.secret_id_env | string |  | AUTHPLANE_DATA_ENCRYPTION_VAULT_SECRET_ID_ENV
connect.state_secret | string |  | AUTHPLANE_CONNECT_STATE_SECRET
connect.redirect_base_url | string |  | AUTHPLANE_CONNECT_REDIRECT_BASE_URL
connect.allowed_return_urls | list |  | AUTHPLANE_CONNECT_ALLOWED_RETURN_URLS
client_secret_pepper | string |  | AUTHPLANE_CLIENT_SECRET_PEPPER
resources | array |  | -
broker_providers | array |  | -
"""


ROWS = [tuple(part.strip() for part in line.split("|")) for line in CONTRACT.strip().splitlines()]
DECLARED = {declared.path: declared for declared in declared_keys(Config)}
SAME = {Kind.SECRET: "string", Kind.ENTRIES: "array"}


def expected_default(kind: str, text: str) -> object:
    match kind:
        case "bool":
            return text == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "duration" | "strict duration":
            return parse_duration(text)
        case "list":
            return tuple(text.split(",")) if text else ()
        case "array":
            return ()
        case _:
            return text


def test_the_contract_and_the_declaration_name_the_same_keys() -> None:
    assert {row[0] for row in ROWS} == set(DECLARED)


@pytest.mark.parametrize(("path", "kind", "default", "env"), ROWS, ids=[row[0] for row in ROWS])
def test_a_key_is_declared_as_the_contract_has_it(path: str, kind: str, default: str, env: str) -> None:
    declared = DECLARED[path]
    value = declared.default.reveal() if isinstance(declared.default, Secret) else declared.default

    assert SAME.get(declared.kind, declared.kind) == kind
    assert value == expected_default(kind, default)
    assert (declared.key.env or "-") == env


def test_every_key_has_one_sentence() -> None:
    assert [path for path, declared in DECLARED.items() if not declared.key.doc.endswith(".")] == []


def test_no_two_keys_share_a_variable() -> None:
    variables = [declared.key.env for declared in DECLARED.values() if declared.key.env]
    assert len(variables) == len(set(variables))


def test_every_condition_names_a_key() -> None:
    conditions = {declared.key.when.partition("=")[0] for declared in DECLARED.values()} - {""}
    assert conditions <= set(DECLARED)


def test_a_secret_is_never_printed() -> None:
    secret = Secret("hunter2hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:}"
    assert secret.reveal() == "hunter2hunter2"
    assert not NO_SECRET
