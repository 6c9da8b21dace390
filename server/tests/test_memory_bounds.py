"""Every collection that outlives a request stands, with its bound, in ``docs/security/limits.md``."""

import ast
import re
from collections.abc import Iterator

import authserver
from server.tests.conftest import ROOT

SOURCE = ROOT / "server" / "src" / "authserver"
# The command line ends after one command, as the doctor does, and the configuration is read once.
SHORT_LIVED = {"cli", "config", "doctor"}
GROWING = re.compile(
    r"\b(dict|list|set|deque|OrderedDict|defaultdict|Counter|SimpleQueue|Queue|WeakSet|WeakValueDictionary)\b"
)
ROW = re.compile(r"^\| `([a-z_.]+:[A-Za-z_]+)` \|", re.MULTILINE)


def is_empty_collection(value: ast.expr | None) -> bool:
    """Whether an expression makes a collection that starts empty, so that something must fill it."""
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.Call(func=function, args=[]):
            return GROWING.search(ast.unparse(function)) is not None
        case ast.Call(func=function, args=[_]):
            return re.search(r"\bdefaultdict\b", ast.unparse(function)) is not None
        case _:
            return False


def is_cached(decorator: ast.expr) -> bool:
    """Whether a decorator keeps results."""
    return re.fullmatch(r"(functools\.)?(lru_cache|cache)\b.*", ast.unparse(decorator)) is not None


def assigned(node: ast.AST) -> str | None:
    """Return the attribute of ``self``, or the name, that an assignment gives an empty collection; else None."""
    match node:
        case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=value):
            if not is_empty_collection(value):
                return None
            return ast.unparse(target).removeprefix("self.") if isinstance(target, ast.Attribute | ast.Name) else None
        case _:
            return None


def is_growing_field(line: ast.stmt) -> bool:
    """Whether a line of a dataclass gives each instance a collection of its own."""
    return (
        isinstance(line, ast.AnnAssign)
        and "default_factory" in ast.unparse(line.value or line.annotation)
        and GROWING.search(ast.unparse(line.annotation)) is not None
    )


def collections_of(tree: ast.Module) -> Iterator[str]:
    """Name the growing attributes of instances, fields of classes, globals, and cached functions of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any(map(is_cached, node.decorator_list)):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            fields = (line for line in node.body if isinstance(line, ast.AnnAssign) and is_growing_field(line))
            yield from (ast.unparse(line.target) for line in fields)
        name = assigned(node)
        if name and (node in tree.body or f"self.{name}" in ast.unparse(node)):
            yield name


def found_in_source() -> set[str]:
    """Return every growing collection of the server, by module and name."""
    found = set()
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[0] not in SHORT_LIVED:
            found |= {f"{'.'.join(parts)}:{name}" for name in collections_of(ast.parse(path.read_text()))}
    return found


# Lives no longer than one request or one command.
PASSING = {"admin.api.broker_providers:config_data", "protocol.metadata_members:_problems"}


def test_every_collection_that_can_grow_is_listed_with_its_bound() -> None:
    listed = set(ROW.findall((ROOT / "docs" / "security" / "limits.md").read_text()))

    assert found_in_source() - PASSING - listed == set()


def test_every_listed_collection_is_there() -> None:
    listed = ROW.findall((ROOT / "docs" / "security" / "limits.md").read_text())

    for place in listed:
        module, _, name = place.partition(":")
        source = (SOURCE / (module.replace(".", "/") + ".py")).read_text()
        assert re.search(rf"\b{name}\b", source), place
    assert len(set(listed)) == len(listed) > 15


def test_the_scan_finds_what_it_is_for() -> None:
    source = """
import functools
kept = {}
@functools.cache
def cached(x): ...
class A:
    field: dict[str, int] = field(default_factory=dict)
    def __init__(self):
        self.one: dict[str, int] = {}
        self.two = deque()
        self.three = asyncio.Queue()
        self.four = [1, 2]
        self.five = defaultdict(list)
"""
    assert set(collections_of(ast.parse(source))) == {"kept", "cached", "field", "one", "two", "three", "five"}
    assert authserver.__name__ == SOURCE.name
