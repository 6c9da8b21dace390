"""Reads the configuration file: YAML in, values by path out, each of its declared kind."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from authserver.config.building import build_section, in_whole_seconds
from authserver.config.declaring import ConfigError, Declared, Kind, declared_keys
from authserver.config.durations import parse_duration
from authserver.config.secret import Secret

_TAG = "tag:yaml.org,2002:"
_TRUE = {"true", "yes", "on"}

# Keys of earlier releases and what took their place; reading past them would drop what the operator meant.
_RETIRED = {
    "resource_servers": "use resources with backend_kind: mint",
    "vault_connectors": "use broker_providers",
    "vault_connect": "use connect",
    "token_exchange.cross_client_allowlist": "use policy.exchange.allowed_client_ids of each resource",
}


class _Loader(yaml.SafeLoader):
    """Composes nodes; refuses a key that stands twice in one mapping, where PyYAML keeps the last in silence."""

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f'key "{key.value}" is given twice', problem_mark=key.start_mark)
                seen.add(key.value)
        return node


# A date in a free map stays the text it was written as.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TAG + "timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_file(path: str, section: type[Any]) -> dict[str, Any]:
    """Return the values that the file gives, by path; nothing if there is no such file.

    Raises:
        ConfigError: It cannot be read, is not YAML, holds a retired key or a value of another kind.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"config: cannot read {path}: {exc}") from exc
    try:
        return _Decoder(_Loader(text)).decode(section)
    except yaml.YAMLError as exc:
        raise ConfigError(f"config: {path} is not valid YAML: {_where(exc)}") from exc
    except _DecodeError as exc:
        raise ConfigError(f"config: {path}: {exc}") from exc


def _where(exc: yaml.YAMLError) -> str:
    """Say what is wrong and in which line; the lines themselves may hold secrets and are not repeated."""
    if isinstance(exc, yaml.MarkedYAMLError) and exc.problem_mark is not None:
        problem = re.sub(
            r"\b(alias|anchor|tag)\b.*", r"\1", exc.problem or ""
        )  # a name there may be a secret's beginning
        return f"line {exc.problem_mark.line + 1}: {problem}"
    return "it holds characters that YAML does not allow"


class _DecodeError(Exception):
    """A value is not of the declared kind."""

    def __init__(self, node: Node, path: str, expected: str) -> None:
        super().__init__(f"line {node.start_mark.line + 1}: {path} must be {expected}")


class _Decoder:
    """Turns the nodes of one document into values."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader

    def decode(self, section: type[Any]) -> dict[str, Any]:
        """Return the values of the document that ``section`` declares."""
        try:
            root = self._loader.get_single_node()
            if root is None or _is_null(root):
                return {}
            self._refuse_retired(root)
            return dict(self._section(root, section, ""))
        finally:
            self._loader.dispose()

    def _refuse_retired(self, root: Node) -> None:
        for path, successor in _RETIRED.items():
            node: Node | None = root
            for name in path.split("."):
                node = self._members(node, path).get(name) if isinstance(node, MappingNode) else None
            if node is not None:
                raise ConfigError(f'config: legacy key "{path}" removed in v0.1.0-rc1; {successor}')

    def _members(self, node: Node, path: str) -> dict[str, Node]:
        """Return the members of a mapping by name, merged ones included."""
        if not isinstance(node, MappingNode):
            raise _DecodeError(node, path or "the document", "a mapping")
        self._loader.flatten_mapping(node)
        return {key.value: value for key, value in node.value if isinstance(key, ScalarNode)}

    def _section(self, node: Node, section: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        """Yield the declared values below one mapping; what is not declared is passed over."""
        for declared in declared_keys(section):
            member: Node | None = node
            path = prefix
            for name in declared.path.split("."):
                member = self._members(member, path).get(name) if member is not None else None
                path = f"{path}.{name}" if path else name
                if member is None or _is_null(member):
                    member = None
                    break
            if member is not None:
                yield path, self._value(member, declared, path)

    def _value(self, node: Node, declared: Declared, path: str) -> Any:
        if declared.kind is Kind.ENTRIES:
            return tuple(self._entries(node, declared, path))
        if declared.kind is Kind.LIST:
            return tuple(_text(item, f"{path}[{i}]") for i, item in enumerate(_items(node, path)))
        if declared.kind is Kind.MAP:
            self._members(node, path)
            return self._loader.construct_document(node)
        text = _text(node, path)
        try:
            return _SCALARS[declared.kind](node, text, declared)
        except ValueError:
            raise _DecodeError(node, path, _EXPECTED[declared.kind]) from None

    def _entries(self, node: Node, declared: Declared, path: str) -> Iterator[Any]:
        assert declared.entry is not None  # noqa: S101  the kind says so
        for index, item in enumerate(_items(node, path)):
            place = f"{path}[{index}]"
            values = {
                name.removeprefix(place + "."): value for name, value in self._section(item, declared.entry, place)
            }
            yield build_section(declared.entry, values)


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _TAG + "null"


def _items(node: Node, path: str) -> list[Node]:
    if not isinstance(node, SequenceNode):
        raise _DecodeError(node, path, "a list")
    return list(node.value)


def _text(node: Node, path: str) -> str:
    if not isinstance(node, ScalarNode):
        raise _DecodeError(node, path, "a single value")
    return str(node.value)


def _bool(node: Node, text: str, _: Declared) -> bool:
    if node.tag != _TAG + "bool":
        raise ValueError(text)
    return text.lower() in _TRUE


def _int(node: ScalarNode, text: str, _: Declared) -> int:
    if node.style is not None:  # quoted: a text, not a number
        raise ValueError(text)
    return int(text, 0)


def _float(node: ScalarNode, text: str, _: Declared) -> float:
    if node.style is not None or not re.fullmatch(r"[-+]?[0-9._]+(?:[eE][-+]?[0-9]+)?", text):
        raise ValueError(text)
    return float(text)


def _duration(_: Node, text: str, declared: Declared) -> float:
    return in_whole_seconds(parse_duration(text), declared)


_SCALARS: dict[Kind, Callable[[Any, str, Declared], Any]] = {
    Kind.STRING: lambda _node, text, _declared: text,
    Kind.SECRET: lambda _node, text, _declared: Secret(text),
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.DURATION: _duration,
    Kind.STRICT_DURATION: _duration,
}
_EXPECTED = {
    Kind.BOOL: "true or false",
    Kind.INT: "a whole number",
    Kind.FLOAT: "a number",
    Kind.DURATION: "a duration with its unit, such as 30s or 1h30m",
    Kind.STRICT_DURATION: "a duration with its unit, such as 30s or 1h30m",
}
