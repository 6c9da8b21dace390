"""The names that spans have for what the database is asked."""

import ast
from pathlib import Path

import authserver
from authserver.storage import spans

SOURCE = Path(authserver.__file__).parent


def functions() -> set[str]:
    """Return every function, with its class."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.AsyncFunctionDef)}
    return found


def test_every_function_that_has_a_known_name_exists() -> None:
    assert set(spans._READS) | set(spans._UNITS) <= functions()


def test_others_are_named_like_the_function() -> None:
    assert spans._read_name("find_resource_by_slug") == "FindResourceBySlug"
    assert spans._unit_name("ClientAdministration.delete.<locals>.delete") == "ClientAdministrationDelete"
    assert spans._unit_name("Decisions._insert.<locals>.<lambda>") == "SessionCreate"
