"""The rules that a configuration must keep before any command runs; all that are broken are reported together."""

import re
import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from authserver.config.declaring import ConfigError, Declared, Kind, value_at, values_of
from authserver.config.durations import spell_duration
from authserver.config.issuer import is_absolute_url, is_localhost_issuer, issuer_fault
from authserver.config.model import Config
from authserver.config.workers import MOST_SHARED_FAILURES, worker_count

_SHORTEST_SECRET = 16  # characters
_SHORTEST_STATE_SECRET = 32  # characters
_WEAK = {"dev-secret-change-me", "dev-admin-key", "changeme", "secret", "password", "admin", "test"}
_ADDRESS = re.compile(r"(?:[^\s:\[\]]*|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5})")
_HIGHEST_PORT = 65535
_KEY_BYTES = 32
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def failures(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Return every rule that is broken, one sentence each.

    Args:
        config: What is checked.
        environ: The environment, for the keys that name a variable which must exist.
    """
    return [
        *_declared_failures(config),
        *_server_failures(config),
        *_worker_failures(config),
        *_storage_failures(config),
        *_login_failures(config),
        *_encryption_failures(config, environ),
        *_connect_failures(config),
        *_production_failures(config),
    ]


def numbered(found: list[str]) -> str:
    """Write failures as the list that the operator sees."""
    lines = (f"  {number}. {sentence}" for number, sentence in enumerate(found, start=1))
    return "invalid configuration: configuration validation failed:\n" + "\n".join(lines)


def check_admin_key(config: Config) -> None:
    """Check the key of the admin listener, a step of its own after all other rules.

    Raises:
        ConfigError: It is weak, or missing or too short in production.
    """
    if config.admin.enabled:
        key = config.admin.api_key.reveal()
        for fault in _secret_faults("admin.api_key", key, production=not is_localhost_issuer(config.server.issuer)):
            raise ConfigError(f"invalid configuration: {fault}")


def _declared_failures(config: Config) -> Iterator[str]:
    """Check what the keys declare."""
    for declared, value in values_of(config):
        if _applies(config, declared.key.when):
            fault = _fault(declared, value)
            if fault:
                while_ = f" while {declared.key.when}" if declared.key.when else ""
                yield f"{declared.path} {fault}{while_}"


def _applies(config: Config, when: str) -> bool:
    """Whether the switch is on, or the key has one of the values, that a rule depends on."""
    path, _, choices = when.partition("=")
    if not path:
        return True
    value = value_at(config, path)
    if choices:
        return value in choices.split("|")
    return value > 0 if isinstance(value, int | float) else bool(value)


def _fault(declared: Declared, value: Any) -> str | None:
    key = declared.key
    if key.required and not value:
        return "is required"
    if key.choices and value not in key.choices:
        return f"must be one of {', '.join(choice or 'empty' for choice in key.choices)}, not {value!r}"
    if key.pattern and value and not re.fullmatch(key.pattern, value):
        return f"must match {key.pattern}, not {value!r}"
    if key.above is not None and not value > key.above:
        return f"must be greater than {spell_bound(declared, key.above)}"
    if key.least is not None and value < key.least:
        return f"must be at least {spell_bound(declared, key.least)}"
    if key.most is not None and value > key.most:
        return f"must be at most {spell_bound(declared, key.most)}"
    return None


def spell_bound(declared: Declared, bound: float) -> str:
    """Write a bound as the values of its key are written."""
    duration = declared.kind in {Kind.DURATION, Kind.STRICT_DURATION}
    return spell_duration(bound) if duration else f"{bound:.15g}"


def _server_failures(config: Config) -> Iterator[str]:
    server, admin = config.server, config.admin
    fault = issuer_fault(server.issuer) if server.issuer else None
    if fault:
        yield f"server.issuer {fault}"
    for path, address in (("server.address", server.address), ("admin.address", admin.address)):
        match = _ADDRESS.fullmatch(address)
        if address and (match is None or int(match[1]) > _HIGHEST_PORT):
            yield f"{path} must be host:port or :port, not {address!r}"
    if admin.enabled and admin.address == server.address:
        yield "admin.address must differ from server.address"
    for index, proxy in enumerate(server.trusted_proxies):
        try:
            everything = ip_network(proxy, strict=False).prefixlen == 0
        except ValueError:
            yield f"server.trusted_proxies[{index}] must be an address or a CIDR range, not {proxy!r}"
            continue
        if everything:
            yield f"server.trusted_proxies[{index}] must not hold every address"
    if admin.audit_default_lookback > admin.audit_max_lookback:
        yield "admin.audit_default_lookback must be at most admin.audit_max_lookback"


def _worker_failures(config: Config) -> Iterator[str]:
    if worker_count(config) <= 1:
        return
    if config.storage.driver != "postgres":
        yield (
            f"server.workers={config.server.workers} needs storage.driver=postgres: one process writes a SQLite file"
            " faster than several that wait for each other; use PostgreSQL, or 1 worker"
        )
    if sys.platform != "linux":
        yield f"server.workers={config.server.workers} needs Linux; use 1 worker"
    if config.rate_limit.auth_fail_max > MOST_SHARED_FAILURES:
        yield f"rate_limit.auth_fail_max must be at most {MOST_SHARED_FAILURES} while server.workers is above 1"


def _storage_failures(config: Config) -> Iterator[str]:
    storage, signing = config.storage, config.signing
    if storage.driver == "postgres" and 0 < storage.postgres.max_conns < storage.postgres.min_conns:
        yield "storage.postgres.min_conns must be at most storage.postgres.max_conns"
    vault = signing.vault_transit
    if signing.key_store == "vault_transit" and bool(vault.token) == bool(vault.approle.role_id):
        yield "signing.vault_transit needs exactly one of token and approle.role_id"
    if signing.key_store == "postgres_key":
        if storage.driver != "postgres":
            yield "signing.key_store=postgres_key needs storage.driver=postgres"
        if not config.data_encryption.driver:
            yield "signing.key_store=postgres_key needs a data_encryption.driver"


def _login_failures(config: Config) -> Iterator[str]:
    oidc = config.oidc
    if not oidc.enabled:
        return
    if oidc.issuer and not oidc.issuer.startswith("https://") and not is_localhost_issuer(oidc.issuer):
        yield "oidc.issuer must be an https URL unless it is on localhost"
    if bool(oidc.client_secret) == bool(oidc.client_secret_ref):
        yield "oidc needs exactly one of client_secret and client_secret_ref"


def _encryption_failures(config: Config, environ: Mapping[str, str]) -> Iterator[str]:
    """Check the key variables of ``aes_master``; the keys themselves are in no message."""
    aes = config.data_encryption.aes_master
    if config.data_encryption.driver != "aes_master":
        return
    for path, name in (("key_env", aes.key_env), ("old_key_env", aes.old_key_env)):
        fault = _key_fault(environ.get(name, "")) if name else None
        if fault:
            yield f"data_encryption.aes_master.{path} names {name}, which {fault}"
    if aes.old_key_env and environ.get(aes.old_key_env, "").lower() == environ.get(aes.key_env, "").lower():
        yield "data_encryption.aes_master.old_key_env must name another key than key_env"


def _key_fault(text: str) -> str | None:
    if not text:
        return "is not set"
    return None if re.fullmatch(f"[0-9A-Fa-f]{{{2 * _KEY_BYTES}}}", text) else "is not 64 hexadecimal characters"


def _connect_failures(config: Config) -> Iterator[str]:
    connect = config.connect
    if connect.state_secret and len(connect.state_secret) < _SHORTEST_STATE_SECRET:
        yield f"connect.state_secret must have at least {_SHORTEST_STATE_SECRET} characters"
    url = connect.redirect_base_url
    if url and not (is_absolute_url(url) and (url.startswith("https://") or urlsplit(url).hostname in _LOCAL_HOSTS)):
        yield "connect.redirect_base_url must be https, or http on localhost"


def _production_failures(config: Config) -> Iterator[str]:
    """Check what a server that others can reach must have (configuration, section 7.1)."""
    issuer = config.server.issuer
    production = not is_localhost_issuer(issuer)
    yield from _secret_faults("session.secret", config.session.secret.reveal(), production=production)
    if not production:
        return
    if issuer.startswith("http://") and not config.server.allow_insecure_issuer:
        yield "server.issuer must be https off localhost (server.allow_insecure_issuer lifts this)"
    if not config.session.secure:
        yield "session.secure must be true when server.issuer is not on localhost"
    if not config.cimd.require_https:
        yield "cimd.require_https must be true when server.issuer is not on localhost"
    if config.cimd.enabled and config.cimd.allow_private_addresses:
        yield "cimd.allow_private_addresses must be false when server.issuer is not on localhost"
    if config.oidc.enabled and config.oidc.redirect_uri and not config.oidc.redirect_uri.startswith("https://"):
        yield "oidc.redirect_uri must be https when server.issuer is not on localhost"


def _secret_faults(path: str, secret: str, *, production: bool) -> Iterator[str]:
    if secret.strip().lower() in _WEAK:
        yield f"{path} is a well-known value; 32 random bytes are a good one"
    elif production and not secret:
        yield f"{path} is required when server.issuer is not on localhost"
    elif production and len(secret) < _SHORTEST_SECRET:
        yield f"{path} must have at least {_SHORTEST_SECRET} characters when server.issuer is not on localhost"
