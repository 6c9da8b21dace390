"""How a key is declared: a dataclass field whose annotation carries a ``Key``, and the walk over all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from authserver.config.secret import Secret


class ConfigError(Exception):
    """The configuration does not let the process start; the text is for the operator and holds no secret."""


class Kind(StrEnum):
    """How a value is written."""

    STRING = "string"
    SECRET = "secret"  # noqa: S105  the name of a kind, no secret
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    DURATION = "duration"
    STRICT_DURATION = "strict duration"
    LIST = "list"
    MAP = "map"
    ENTRIES = "entries"


Seconds = Annotated[int, Kind.DURATION]
StrictSeconds = Annotated[int, Kind.STRICT_DURATION]
FineSeconds = Annotated[float, Kind.DURATION]


@dataclass(frozen=True, slots=True)
class Key:
    """What is declared of a key beside its name, type and default.

    Attributes:
        env: The environment variable that overrides it; None: it is set in the file alone.
        doc: One sentence for the operator.
        rule: In words, what ``checks`` demands beyond the fields below.
        choices: The only values there are.
        least: The smallest value.
        most: The largest value.
        above: The value must be greater.
        required: It may not be empty.
        pattern: What a non-empty value matches as a whole.
        when: The rule holds only while this key is on (``path``) or has one of some values (``path=a|b``).
        blank_is_default: An empty, zero or negative value stands for the default.
        folded: Upper and lower case are the same; the value is read in lower case.
        built: False: the feature that the key switches on is not in this build yet.
        unbuilt: The choices whose feature is not in this build yet.
    """

    env: str | None
    doc: str
    rule: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    required: bool = False
    pattern: str = ""
    when: str = ""
    blank_is_default: bool = False
    folded: bool = False
    built: bool = True
    unbuilt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """A key in its place.

    Attributes:
        path: Its name in full, ``dcr.mode``.
        default: The default of the contract, whether or not its feature is built.
        whole: A duration that is counted in whole seconds.
        entry: For ``Kind.ENTRIES``, the class of one entry.
    """

    path: str
    key: Key
    kind: Kind
    default: Any
    whole: bool = False
    entry: type[Any] | None = None

    @property
    def off(self) -> Any:
        """The value that stands for "not used" where the feature is not built."""
        return self.default if self.key.unbuilt else type(self.default)()


_KINDS = {bool: Kind.BOOL, int: Kind.INT, float: Kind.FLOAT, str: Kind.STRING, Secret: Kind.SECRET, Mapping: Kind.MAP}


def declared_keys(section: Any) -> tuple[Declared, ...]:
    """Return every key of a section class, those of its nested sections in their places."""
    return _declared_keys(section)


@cache
def _declared_keys(section: Any) -> tuple[Declared, ...]:
    return tuple(_walk(section, ""))


def _walk(section: Any, prefix: str) -> Iterator[Declared]:
    hints = get_type_hints(section, include_extras=True)
    for field in fields(section):
        path = f"{prefix}.{field.name}" if prefix else field.name
        hint: Any = hints[field.name]
        if is_dataclass(hint):
            yield from _walk(hint, path)
        else:
            yield _declared(path, field, *get_args(hint))


def _declared(path: str, field: Field[Any], base: Any, *marks: Any) -> Declared:
    """Read one field's annotation."""
    key = next(mark for mark in marks if isinstance(mark, Key))
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    origin = get_origin(base)
    if origin is tuple:
        item = get_args(base)[0]
        kind = Kind.LIST if item is str else Kind.ENTRIES
        return Declared(path, key, kind, default, entry=None if item is str else item)
    kind = next((mark for mark in marks if isinstance(mark, Kind)), _KINDS[origin or base])
    return Declared(path, key, kind, default, whole=base is int)


def value_at(section: Any, path: str) -> Any:
    """Return the value that a dotted path names below ``section``."""
    for name in path.split("."):
        section = getattr(section, name)
    return section


def values_of(config: Any) -> Iterator[tuple[Declared, Any]]:
    """Yield every key with its value, and those of the seed entries under paths such as ``resources[0].slug``."""
    for declared in declared_keys(type(config)):
        value = value_at(config, declared.path)
        yield declared, value
        yield from entry_values(declared, value)


def entry_values(declared: Declared, entries: tuple[Any, ...]) -> Iterator[tuple[Declared, Any]]:
    """Yield the keys of seed entries with their values; nothing for a key that is no list of entries."""
    for index, entry in enumerate(entries if declared.entry else ()):
        for part in declared_keys(type(entry)):
            placed = Declared(
                f"{declared.path}[{index}].{part.path}", part.key, part.kind, part.default, entry=part.entry
            )
            value = value_at(entry, part.path)
            yield placed, value
            yield from entry_values(placed, value)
