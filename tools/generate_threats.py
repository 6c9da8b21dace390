"""Makes the catalogue of threats from ``server/tests/threats.toml``, and holds it against the tests there are."""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "server" / "tests"
CATALOGUE = TESTS / "threats.toml"

_INTRODUCTION = """# Threats

<!-- Made by tools/generate.py from server/tests/threats.toml; edit that instead. -->

What the server must resist, what proves that it does, and the tests that do. `pytest -m threat server/tests e2e` runs them.
T1 to T19 are the specification's, X1 to X15 were added here. Where a part is not served yet, its threat says so, and what can be
proved of its absence is.
"""


def load() -> dict[str, dict[str, Any]]:
    """Return the catalogue: by id, ``threat``, ``proofs`` (what is proved, and its tests), ``absent`` and ``missing``."""
    with CATALOGUE.open("rb") as file:
        return tomllib.load(file)


def place(test: str) -> tuple[Path, str]:
    """Return the file of a named test, and its name within."""
    path, _, name = test.partition("::")
    return (ROOT if path.startswith("e2e/") else TESTS) / path, name


def tests_of(path: Path) -> Iterator[str]:
    """Name the tests of a file, those of classes with their class."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for item in inner:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test_"):
                yield prefix + item.name


def absent_tests(catalogue: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the named tests that do not exist."""
    named = [test for entry in catalogue.values() for tests in entry["proofs"].values() for test in tests]
    known = {path: set(tests_of(path)) if path.exists() else set() for path, _ in map(place, named)}
    return [test for test in named if place(test)[1] not in known[place(test)[0]]]


def threats_page() -> str:
    """Return the page.

    Raises:
        SystemExit: The catalogue names a test that does not exist.
    """
    catalogue = load()
    if gone := absent_tests(catalogue):
        raise SystemExit("server/tests/threats.toml names tests that do not exist:\n  " + "\n  ".join(gone))
    return "\n".join([_INTRODUCTION, *_sections(catalogue)]) + "\n"


def _sections(catalogue: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, entry in catalogue.items():
        yield f"## {name} {entry['threat']}\n"
        if "absent" in entry:
            yield f"*{entry['absent']}*\n"
        yield "| Proof | Tests |\n|---|---|"
        for proof, tests in entry["proofs"].items():
            yield f"| {proof} | {'<br>'.join(_linked(test) for test in tests)} |"
        yield ""
        if "missing" in entry:
            yield f"Not proved: {entry['missing']}.\n"


def _linked(test: str) -> str:
    path, name = place(test)
    return f"[`{name.rpartition('::')[2]}`](../../{path.relative_to(ROOT).as_posix()})"
