"""Reads the environment: one variable for most keys, and the shorthands for one resource and one broker provider."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from authserver.config.building import in_whole_seconds
from authserver.config.declaring import ConfigError, Declared, Kind, declared_keys
from authserver.config.durations import parse_duration
from authserver.config.notices import DEPRECATED, Notice
from authserver.config.secret import Secret
from authserver.config.sections.clients import BrokerProviderSeed, ResourceSeed, ScopeSeed
from authserver.config.sections.grants import SLUG

_TRUE = {"true", "1", "yes"}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SLUG_LENGTH = 64
_PROVIDER = "AUTHPLANE_BROKER_PROVIDER_"
_PROVIDER_DATA = ("client_id", "client_secret_ref", "authorize_url", "token_url", "response_format")


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """What the environment says.

    Attributes:
        values: By path, with the variable they came from.
        notices: The variables that were ignored because they do not parse.
    """

    values: dict[str, tuple[Any, str]]
    notices: list[Notice]


def read_variables(environ: Mapping[str, str], section: type[Any]) -> FromEnvironment:
    """Return what the variables of the declared keys say; a set variable counts also when it is empty.

    A value that does not parse is ignored with a notice: deployments rely on it.

    Raises:
        ConfigError: A strict duration does not parse.
    """
    found = FromEnvironment({}, [])
    for declared in declared_keys(section):
        env = declared.key.env
        if env is None or env not in environ:
            continue
        text = environ[env]
        if declared.kind is Kind.STRICT_DURATION and not text:
            continue
        try:
            found.values[declared.path] = (_READERS[declared.kind](text, declared), env)
        except ValueError:
            if declared.kind is Kind.STRICT_DURATION:
                raise ConfigError(
                    f"config: {env} is not a duration; is the unit missing? Write for example 30s or 1h30m"
                ) from None
            message = "environment variable ignored: its value does not parse"
            found.notices.append(Notice("warning", message, {"variable": env, "expected": declared.kind.value}))
    return found


def _bool(text: str, _: Declared) -> bool:
    return text.lower() in _TRUE


def _int(text: str, _: Declared) -> int:
    if not _INT.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _float(text: str, _: Declared) -> float:
    if not _FLOAT.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _duration(text: str, declared: Declared) -> float:
    return 0 if text in {"0", "+0", "-0"} else in_whole_seconds(parse_duration(text), declared)


_READERS: dict[Kind, Callable[[str, Declared], Any]] = {
    Kind.STRING: lambda text, _: text,
    Kind.SECRET: lambda text, _: Secret(text),
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.DURATION: _duration,
    Kind.STRICT_DURATION: _duration,
    Kind.LIST: lambda text, _: split_list(text),
}


def split_list(text: str) -> tuple[str, ...]:
    """Split a list at its commas, trimming nothing; an empty text is an empty list."""
    return tuple(text.split(",")) if text else ()


def with_resource(resources: tuple[ResourceSeed, ...], environ: Mapping[str, str]) -> tuple[ResourceSeed, ...]:
    """Add the mint resource of ``AUTHPLANE_RESOURCE_URI``, or give the one with that URI its scopes.

    Raises:
        ConfigError: No slug can be made of the URI.
    """
    uri = environ.get("AUTHPLANE_RESOURCE_URI", "")
    if not uri:
        return resources
    scopes = tuple(ScopeSeed(name=name) for name in split_list(environ.get("AUTHPLANE_RESOURCE_SCOPES", "")))
    if any(resource.uri == uri for resource in resources):
        return tuple(
            replace(resource, scopes=scopes) if scopes and resource.uri == uri else resource for resource in resources
        )
    return (*resources, ResourceSeed(slug=_slug_of(uri), uri=uri, backend_kind="mint", scopes=scopes))


def _slug_of(uri: str) -> str:
    """Make a slug of the host name."""
    try:
        host = urlsplit(uri).hostname or ""
    except ValueError:
        host = ""
    slug = re.sub(r"[^a-z0-9]+", "-", host.lower()).strip("-")[:_SLUG_LENGTH].rstrip("-")
    if not re.fullmatch(SLUG, slug):
        raise ConfigError(f"config: AUTHPLANE_RESOURCE_URI: no slug can be made of the host of {uri!r}")
    return slug


def with_provider(
    providers: tuple[BrokerProviderSeed, ...], environ: Mapping[str, str]
) -> tuple[BrokerProviderSeed, ...]:
    """Add the provider of ``AUTHPLANE_BROKER_PROVIDER_SLUG``, or override the one with that slug."""
    slug = environ.get(_PROVIDER + "SLUG", "")
    if not slug:
        return providers
    known = next((provider for provider in providers if provider.slug == slug), None)
    if known is None:
        return (*providers, _provider(BrokerProviderSeed(slug=slug), environ))
    return tuple(_provider(provider, environ) if provider is known else provider for provider in providers)


def _provider(provider: BrokerProviderSeed, environ: Mapping[str, str]) -> BrokerProviderSeed:
    data = {name: environ.get(_PROVIDER + name.upper(), "") for name in _PROVIDER_DATA}
    data["client_secret_ref"] = data["client_secret_ref"] or environ.get(_PROVIDER + "CLIENT_SECRET_ENV", "")
    return replace(
        provider,
        display_name=environ.get(_PROVIDER + "DISPLAY_NAME", provider.display_name or provider.slug),
        protocol=environ.get(_PROVIDER + "PROTOCOL", provider.protocol or "oauth"),
        config_data={**provider.config_data, **{name: value for name, value in data.items() if value}},
    )


def deprecated_variables(environ: Mapping[str, str]) -> list[Notice]:
    """Say which variables go by an old name."""
    old = _PROVIDER + "CLIENT_SECRET_ENV"
    if not environ.get(_PROVIDER + "SLUG") or not environ.get(old):
        return []
    return [Notice("warning", DEPRECATED, {"migration": f"{old} -> {_PROVIDER}CLIENT_SECRET_REF"})]
