"""How a provider's secret is told from the rest of its configuration (token vault, section 2.2).

An operator names an environment variable that holds it, or gives the secret itself, which is then encrypted into a column
of its own. Neither ever stands in what operators are shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from authserver.broker.records import BrokerProtocol
from authserver.config.references import is_reference_name
from authserver.config.secret import Secret
from authserver.protocol.operator_errors import Invalid

_FIELDS: Mapping[BrokerProtocol, str] = {
    BrokerProtocol.OAUTH: "client_secret",
    BrokerProtocol.SERVICE_ACCOUNT: "sa_key",
}
_NAME_OF_A_SECRET = re.compile(r"(?:^|_)(?:secret|password)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A configuration without secrets.

    Attributes:
        config_data: What is stored and shown.
        field: What the protocol calls its secret; empty when it has none.
        secret: What was given itself, to be encrypted; None when it was not.
        has_reference: Whether a variable holds it, so that what was encrypted before counts no more.
    """

    config_data: Mapping[str, Any] = field(repr=False)
    field: str = ""
    secret: Secret | None = None
    has_reference: bool = False


def route_secret(protocol: BrokerProtocol, given: Mapping[str, Any]) -> Routed:
    """Take the secret out of a configuration.

    Raises:
        Invalid: A secret is given twice, or no text; a variable may not be named; or another member holds a secret.
    """
    config_data = dict(given)
    name = _FIELDS.get(protocol, "")
    secret = reference = ""
    if name:
        secret = _take(config_data, name)
        # The spelling of old configurations counts where the other is missing, and is never stored.
        old = _take(config_data, f"{name}_env")
        reference = _take(config_data, f"{name}_ref") or old
        if secret and reference:
            raise Invalid(f"{name} and {name}_ref are mutually exclusive: set only one")
        if reference:
            if not is_reference_name(reference):
                raise Invalid(
                    f"{name}_ref must name an environment variable that begins with CONNECTOR_ or AUTHPLANE_VAULT_"
                )
            config_data[f"{name}_ref"] = reference
    _check_no_secret_left(config_data)
    try:
        orjson.dumps(config_data)
    except TypeError as exc:
        raise Invalid("config_data holds a value that JSON has no place for, or a number beyond 64 bits") from exc
    return Routed(
        config_data=config_data,
        field=name,
        secret=Secret(secret) if secret else None,
        has_reference=bool(reference),
    )


def secret_context(provider_id: str, name: str) -> str:
    """Return what a provider's secret is sealed under: it opens for this provider and field alone."""
    return f"broker_provider:{provider_id}:{name}"


def _take(config_data: dict[str, Any], name: str) -> str:
    """Take a member out; return its text, empty when it was not given."""
    value = config_data.pop(name, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(f"config_data.{name} must be a text")
    return value


def _check_no_secret_left(value: object, place: str = "config_data") -> None:
    """Refuse what would be stored in clear: whatever is called a secret, at any depth, and the secrets of other protocols."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if _is_secret(name) and member and not isinstance(member, bool):
                raise Invalid(
                    f"{place}.{name} must not hold a secret here: name an environment variable that holds it in {name}_ref"
                )
            _check_no_secret_left(member, f"{place}.{name}")
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            _check_no_secret_left(entry, f"{place}.{position}")


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and (name in _FIELDS.values() or _NAME_OF_A_SECRET.search(name) is not None)
