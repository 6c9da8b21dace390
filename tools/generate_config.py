"""The configuration's reference page and sample file, from the declaration of its keys."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

from authserver.config.checks import spell_bound
from authserver.config.declaring import Declared, Kind, declared_keys
from authserver.config.model import Config
from authserver.config.sections.clients import BrokerProviderSeed, ResourceSeed
from authserver.config.show import plain_value

_HEAD = """\
# Configuration

<!-- Made from the code by tools/generate.py; edit the declaration in server/src/authserver/config instead. -->

Every key of the authorization server. `authserver config show` prints the values in force and where each came from,
`authserver config check` says what is wrong with them, `authserver config schema` prints a JSON Schema of the file.
[authserver.example.yaml](authserver.example.yaml) holds every key with its default.

## Where values come from

| Order | Source | |
|---|---|---|
| 1 | defaults | enough for a server on `localhost` |
| 2 | the YAML file given with `--config` | goes before the defaults, key by key; a list replaces the whole list. A file that does not exist is no error |
| 3 | `AUTHPLANE_…` environment variables | go before the file; a variable that is set counts also when it is empty |

The configuration is read once, when the process starts. Unknown keys are passed over. A key that stands twice in one
mapping is an error. Nothing is substituted in the file: a value that still holds `${…}` is refused, unless the
environment variable of its key is set.

## How values are written

| Type | In the file | In the environment |
|---|---|---|
| string, secret | a scalar | as it is |
| bool | `true` or `false`; also `yes`, `no`, `on`, `off` | `true`, `1`, `yes` in any case are true, everything else is false |
| int, float | a number | a number; what does not parse is ignored with a warning |
| duration | numbers with the units `ns`, `us`, `ms`, `s`, `m`, `h`: `90s`, `1h30m`; never a bare number | the same, and a bare `0`; what does not parse is ignored with a warning |
| strict duration | as a duration | as a duration; what does not parse ends the start, an empty variable is passed over |
| list | a sequence | split at commas, nothing trimmed; empty is an empty list |

Lives and windows are counted in whole seconds; a part of a second is rounded up.
"""

_TAIL = """\
## One resource and one provider from the environment

| Variable | Effect |
|---|---|
| `AUTHPLANE_RESOURCE_URI` | Adds a mint resource, its slug made of the host; if the file has one with this URI, only its scopes are replaced |
| `AUTHPLANE_RESOURCE_SCOPES` | Its scopes, split at commas |
| `AUTHPLANE_BROKER_PROVIDER_SLUG` | Adds a broker provider, or overrides the one of the file with this slug |
| `AUTHPLANE_BROKER_PROVIDER_DISPLAY_NAME`, `AUTHPLANE_BROKER_PROVIDER_PROTOCOL` | Its name (else the slug) and protocol (else `oauth`) |
| `AUTHPLANE_BROKER_PROVIDER_CLIENT_ID`, `…_CLIENT_SECRET_REF`, `…_AUTHORIZE_URL`, `…_TOKEN_URL`, `…_RESPONSE_FORMAT` | Members of its `config_data`, where not empty |
| `AUTHPLANE_BROKER_PROVIDER_CLIENT_SECRET_ENV` | Deprecated name of `…_CLIENT_SECRET_REF` |

## Production

An issuer is on localhost when its host is exactly `localhost`, `127.0.0.1` or `[::1]`. Any other issuer is production,
and then every command that reads the configuration demands:

- an `https` issuer, unless `server.allow_insecure_issuer`;
- `session.secret` of at least 16 characters, and `session.secure`;
- `admin.api_key` of at least 16 characters, while `admin.enabled`;
- `cimd.require_https`, and `cimd.allow_private_addresses` off while `cimd.enabled`;
- an `https` `oidc.redirect_uri`, while `oidc.enabled`.

Well-known values such as `changeme` are refused for both secrets everywhere.

## Retired and deprecated keys

`resource_servers`, `vault_connectors`, `vault_connect` and `token_exchange.cross_client_allowlist` end the start with
the name of their successor. `oidc.client_secret_env` is read as `oidc.client_secret_ref` and warns.
"""


def reference_page() -> str:
    """Return docs/reference/configuration.md."""
    tables = "".join(
        f"## `{name}`\n\n{doc + chr(10) * 2 if doc else ''}{_table(keys)}\n" for name, doc, keys in _sections()
    )
    entries = "".join(
        f"## `{name}[]`\n\n{entry.__doc__}\n\n{_table(declared_keys(entry), env=False)}\n"
        for name, entry in (("resources", ResourceSeed), ("broker_providers", BrokerProviderSeed))
    )
    return f"{_HEAD}\n{tables}{entries}{_TAIL}"


def example_file() -> str:
    """Return docs/reference/authserver.example.yaml: every key at its default, commented out."""
    lines = [
        "# Every key with its default. Take the # before a key away to set it; see configuration.md.",
        "# Made from the code by tools/generate.py.",
    ]
    for name, _, keys in _sections():
        lines += ["", *([f"{name}:"] if keys[0].path != name else [])]
        opened: list[str] = [name]
        for key in keys:
            *parents, leaf = key.path.split(".")
            for depth in range(1, len(parents)):
                if opened[: depth + 1] != parents[: depth + 1]:
                    opened = parents[: depth + 1]
                    lines.append("  " * depth + f"{parents[depth]}:")
            indent = "  " * len(parents)
            note = f"; {key.key.env}" if key.key.env else ""
            lines += [f"{indent}# {key.key.doc.rstrip('.')}{note}", f"{indent}#{leaf}: {_yaml(key)}"]
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, str, list[Declared]]]:
    """Yield each top-level key of the file with its sentence and what stands below it."""
    hints = get_type_hints(Config)
    for field in fields(Config):
        keys = [key for key in declared_keys(Config) if key.path.split(".")[0] == field.name]
        sentence = "" if keys[0].path == field.name else str(hints[field.name].__doc__)
        yield field.name, sentence, keys


def _table(keys: Any, *, env: bool = True) -> str:
    head = ("Key", "Type", "Default", *(("Environment",) if env else ()), "Meaning")
    rows = [
        (
            f"`{key.path}`",
            str(key.kind),
            f"`{_yaml(key)}`" if key.kind is not Kind.MAP else "",
            *((f"`{key.key.env}`" if key.key.env else "-",) if env else ()),
            _meaning(key),
        )
        for key in keys
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * len(head), *rows))


def _meaning(declared: Declared) -> str:
    """Write the sentence, the rules, and what this build does not have."""
    key = declared.key
    parts = [key.doc]
    rules = [*_rules(declared), *([key.rule] if key.rule else [])]
    if rules:
        parts.append(f"Rule: {'; '.join(rules)}.")
    if key.blank_is_default:
        parts.append("Blank stands for the default.")
    if not key.built:
        parts.append("*Not in this build: refused when switched on, off whatever the default.*")
    if key.unbuilt:
        parts.append(f"*Not in this build: {', '.join(f'`{choice}`' for choice in key.unbuilt)}.*")
    return " ".join(parts).replace("|", "\\|")


def _rules(declared: Declared) -> Iterator[str]:
    key = declared.key
    path, _, values = key.when.partition("=")
    condition = f" while `{path}`" if path else ""
    if values:
        condition += " is " + " or ".join(f"`{value}`" for value in values.split("|"))
    if key.required:
        yield f"required{condition}"
    if key.choices:
        choices = ", ".join(f"`{choice}`" if choice else "empty" for choice in key.choices)
        yield f"one of {choices}{' in any case' if key.folded else ''}{condition}"
    if key.pattern:
        yield f"matches `{key.pattern}`{condition}"
    if key.above is not None:
        yield f"greater than {spell_bound(declared, key.above)}{condition}"
    if key.least is not None and key.most is not None:
        yield f"{spell_bound(declared, key.least)} to {spell_bound(declared, key.most)}{condition}"
    elif key.least is not None:
        yield f"at least {spell_bound(declared, key.least)}{condition}"


def _yaml(declared: Declared) -> str:
    """Write a default as it would stand in the file."""
    value = plain_value(declared.kind, declared.default)
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9_./-]*(://[A-Za-z0-9.:]+)?", value)
    return str(value) if plain else json.dumps(value)
