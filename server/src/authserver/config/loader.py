"""Loads the configuration: defaults, then the file, then the environment; the one place that reads the environment."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from authserver.config.building import build_section
from authserver.config.checks import check_admin_key, failures, numbered
from authserver.config.declaring import ConfigError, Declared, declared_keys, entry_values
from authserver.config.environment import deprecated_variables, read_variables, with_provider, with_resource
from authserver.config.model import Config
from authserver.config.notices import DEPRECATED, Notice, config_notices
from authserver.config.secret import Secret
from authserver.config.yaml_file import read_file

FROM_DEFAULT = "default"
FROM_FILE = "file"
NOT_BUILT = "not in this build"
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_SECRET_BYTES = 32

_Values = dict[str, tuple[Any, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration and how it came about.

    Attributes:
        config: What the process runs on.
        sources: For each key, where its value comes from: ``default``, ``file``, the name of an environment variable,
            or ``not in this build`` for a default whose feature does not exist yet.
        notices: What the log says about it at boot.
        refused: Switches that were turned on although this build has no such feature.
    """

    config: Config
    sources: dict[str, str]
    notices: tuple[Notice, ...]
    refused: tuple[str, ...]


def load_config(path: str | None = None, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Load the configuration that every command starts with.

    Args:
        path: The YAML file; one that does not exist is none.
        environ: The environment; None is that of the process.

    Raises:
        ConfigError: It cannot be read, or breaks a rule.
    """
    environ = process_environment() if environ is None else environ
    loaded = read_config(path, environ)
    found = config_failures(loaded, environ)
    if found:
        raise ConfigError(numbered(found))
    check_admin_key(loaded.config)
    return loaded


def process_environment() -> Mapping[str, str]:
    """Return the environment of the process."""
    return os.environ  # noqa: TID251  this package is where the environment is read


def config_failures(loaded: LoadedConfig, environ: Mapping[str, str]) -> list[str]:
    """Return every rule that a configuration which could be read breaks."""
    return [*loaded.refused, *failures(loaded.config, environ)]


def read_config(path: str | None, environ: Mapping[str, str]) -> LoadedConfig:
    """Read file and environment and put them together, without checking the rules.

    Raises:
        ConfigError: The file, a strict duration or a shorthand cannot be read, or a placeholder was never replaced.
    """
    values: _Values = {}
    if path:
        values.update({key: (value, FROM_FILE) for key, value in read_file(path, Config).items()})
    variables = read_variables(environ, Config)
    values.update(variables.values)
    _add_shorthands(values, environ)
    notices = [*variables.notices, *_fold_deprecated(values), *deprecated_variables(environ)]
    _refuse_placeholders(values)
    refused = _switch_off_unbuilt(values)
    config = build_section(Config, {key: value for key, (value, _) in values.items()})
    return LoadedConfig(
        config=config,
        sources={
            key.path: values[key.path][1] if key.path in values else FROM_DEFAULT for key in declared_keys(Config)
        },
        notices=(*notices, *config_notices(config)),
        refused=tuple(refused),
    )


def with_session_secret(config: Config) -> Config:
    """Return the configuration with a random session secret where none is given, which only localhost allows.

    To be called once, before worker processes part, so that they agree.
    """
    if config.session.secret:
        return config
    made_up = Secret(secrets.token_urlsafe(_SECRET_BYTES))
    return replace(config, session=replace(config.session, secret=made_up))


def _add_shorthands(values: _Values, environ: Mapping[str, str]) -> None:
    """Add the resource and the broker provider that the environment names."""
    for path, variable, extend in (
        ("resources", "AUTHPLANE_RESOURCE_URI", with_resource),
        ("broker_providers", "AUTHPLANE_BROKER_PROVIDER_SLUG", with_provider),
    ):
        before, source = values.get(path, ((), ""))
        after = extend(before, environ)
        if after != before:
            values[path] = (after, f"{source} and {variable}" if source else variable)


def _fold_deprecated(values: _Values) -> list[Notice]:
    """Let ``oidc.client_secret_env`` stand for its successor; with it the inline secret never counted."""
    name, source = values.get("oidc.client_secret_env", ("", ""))
    if not name:
        return []
    if not values.get("oidc.client_secret_ref", ("", ""))[0]:
        values["oidc.client_secret_ref"] = (name, source)
        values.pop("oidc.client_secret", None)
    return [Notice("warning", DEPRECATED, {"migration": "oidc.client_secret_env -> oidc.client_secret_ref"})]


def _refuse_placeholders(values: _Values) -> None:
    """Refuse texts that a template was to fill in and did not."""
    left = [
        f"{path} holds {placeholder}"
        for key, (value, _) in values.items()
        for path, text in _texts(key, value)
        for placeholder in _PLACEHOLDER.findall(text)
    ]
    if left:
        raise ConfigError(
            "config: unexpanded placeholder: " + ", ".join(left) + "; the file is used as it is, variables are not"
            " substituted: write the value, or set the environment variable of the key"
        )


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text within a value, with its place."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Secret):
        yield path, value.reveal()
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _texts(f"{path}.{name}", member)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(f"{path}[{index}]", item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _texts(f"{path}.{field.name}", getattr(value, field.name))


def _switch_off_unbuilt(values: _Values) -> list[str]:
    """Switch off the features that this build does not have; return those that were asked for."""
    refused: list[str] = []
    for declared in declared_keys(Config):
        if declared.path not in values:
            if not declared.key.built and declared.default:
                values[declared.path] = (declared.off, NOT_BUILT)
            continue
        value, source = values[declared.path]
        if _asks_for_unbuilt(declared, value):
            refused.append(_no_such_feature(declared, value))
            values[declared.path] = (declared.off, source)
        refused += [
            _no_such_feature(key, part) for key, part in entry_values(declared, value) if part in key.key.unbuilt
        ]
    return refused


def _asks_for_unbuilt(declared: Declared, value: Any) -> bool:
    key = declared.key
    if key.choices and value not in key.choices:
        return False  # what does not exist at all is the checks' business
    return (not key.built and bool(value)) or value in key.unbuilt


def _no_such_feature(declared: Declared, value: Any) -> str:
    given = f"={str(value).lower()}" if isinstance(value, bool | str) else ""
    return f"{declared.path}{given}: this build has no such feature yet; leave the key out or switch it off"
