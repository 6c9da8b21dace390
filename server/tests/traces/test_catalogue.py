import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import authserver
from authserver.cli.tree import cli
from authserver.config.declaring import declared_keys
from authserver.config.model import Config
from authserver.protocol import errors
from authserver.telemetry.decisions import StepFields
from authserver.traces.catalogue import CATALOGUE

SOURCE = Path(authserver.__file__).parent
REFUSALS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.OAuthError | errors.PageRefusal)
}
# Reasons that are handed on in a variable, and where they come from.
HANDED_ON = {"reason", "exc.reason"}
# What makes a refusal of the reason that it is given.
HELPERS = {"fault_is", "missing", "insufficient"}
QUOTED = re.compile(r"`([^`]+)`")


def the_reasons() -> Iterator[tuple[str, str]]:
    """Go through the reasons that the source gives to refusals, each with where it stands."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in REFUSALS:
                yield from ((reason, f"{path.name}:{node.lineno}") for reason in reasons_of(name, node))
            elif name in HELPERS:
                words = [*node.args, *(word.value for word in node.keywords if word.arg in {"reason", "fault"})]
                yield from ((reason, f"{path.name}:{node.lineno}") for reason in constants(words))
            elif name in {"InvalidAssertion", "InvalidProof"} and path.name != "authentication.py":
                yield from ((reason, f"{path.name}:{node.lineno}") for reason in constants(node.args))
            elif (name, path.name) in {("refuse", "errors.py"), ("_record_inactive", "introspection.py")}:
                words = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
                yield from ((word, f"{path.name}:{node.lineno}") for word in constants(words))


def reasons_of(name: str, call: ast.Call) -> list[str]:
    """Return the reasons that a refusal may be made with."""
    for keyword in call.keywords:
        if keyword.arg == "reason":
            found = constants([keyword.value])
            assert found or ast.unparse(keyword.value) in HANDED_ON, ast.unparse(call)
            return found
    if name == "PageRefusal":
        title = call.args[0]
        assert isinstance(title, ast.Constant), ast.unparse(call)
        return [str(title.value).lower().replace(" ", "_")]
    return [str(vars(REFUSALS[name])["error"])]


def constants(nodes: list[ast.expr]) -> list[str]:
    """Return the texts among expressions, of conditional ones both."""
    found = []
    for node in nodes:
        branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
        found += [branch.value for branch in branches if isinstance(branch, ast.Constant) and branch.value]
    return [text for text in found if isinstance(text, str)]


def test_every_reason_of_the_source_is_explained() -> None:
    reasons = list(the_reasons())
    assert len({reason for reason, _ in reasons}) > 60
    assert [(reason, where) for reason, where in reasons if reason not in CATALOGUE] == []


def test_every_verdict_of_introspection_is_explained() -> None:
    text = (SOURCE / "tokens" / "introspection.py").read_text()
    verdicts = re.findall(r'return "([a-z_]+)"', text) + re.findall(r'else "([a-z_]+)"', text)
    assert len(verdicts) >= 5
    assert set(verdicts) - {"inactive"} <= set(CATALOGUE)


@pytest.mark.parametrize("reason", CATALOGUE)
def test_an_explanation_quotes_what_can_be_noted_alone(reason: str) -> None:
    entry = CATALOGUE[reason]
    named = {name for text in (entry.meaning, entry.fix) for _, name, _, _ in string.Formatter().parse(text) if name}
    assert named <= set(StepFields.__annotations__)
    assert all(text.endswith((".", "…")) for text in (entry.meaning, entry.fix))


@pytest.mark.parametrize("reason", CATALOGUE)
def test_what_a_fix_names_is_there(reason: str) -> None:
    """Commands with their flags, and configuration keys."""
    keys = {declared.path for declared in declared_keys(Config)}
    sections = {path.partition(".")[0] for path in keys}
    for quoted in QUOTED.findall(CATALOGUE[reason].meaning + CATALOGUE[reason].fix):
        if quoted.startswith("authserver "):
            check_command(quoted.split()[1:])
        elif "." in quoted and quoted.partition(".")[0] in sections and "*" not in quoted and "/" not in quoted:
            assert quoted.partition(":")[0].strip() in keys or is_audit_event(quoted), quoted


def is_audit_event(name: str) -> bool:
    return name in (SOURCE / "audit" / "events.py").read_text()


def check_command(words: list[str]) -> None:
    command: click.Command = cli
    for word in words:
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, words
            command = found
        elif word.startswith("--"):
            assert word in {name for option in command.params for name in option.opts}, (words, word)
