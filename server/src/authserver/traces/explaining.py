"""A kept refusal as an operator reads it: the decision step by step, what it means, and what to do."""

import string
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from authserver.protocol.times import spell_time
from authserver.telemetry.decisions import without_controls
from authserver.traces.catalogue import CATALOGUE
from authserver.traces.records import Entry, RefusalTrace

_UNEXPLAINED = Entry("This version has no explanation for the reason.", "The steps are all there is to go by.")
_NOT_NOTED = "(not known)"


class TraceView(TypedDict):
    """Everything about a refusal: ``meaning`` and ``fix`` quote what was compared in the ``steps``."""

    reference: str
    time: str
    endpoint: str
    status: int
    error: str
    reason: str
    description: str
    client_id: str
    request_id: str
    steps: list[dict[str, Any]]
    meaning: str
    fix: str


class _Blanks(string.Formatter):
    """Fills in what was noted; what was not says so."""

    def get_value(self, key: int | str, _args: Any, kwargs: Mapping[str, Any]) -> Any:
        return kwargs.get(str(key), _NOT_NOTED)


def explain(trace: RefusalTrace) -> TraceView:
    """Return everything about a refusal, for JSON."""
    entry = CATALOGUE.get(trace.reason, _UNEXPLAINED)
    noted: dict[str, str] = {"client_id": trace.client_id or _NOT_NOTED}
    for step in trace.steps:
        noted.update((name, _spell(value)) for name, value in step.items() if name != "step" and value != "")
    return {
        "reference": trace.reference,
        "time": spell_time(trace.created_at),
        "endpoint": trace.endpoint,
        "status": trace.status,
        "error": trace.error,
        "reason": trace.reason,
        "description": trace.description,
        "client_id": trace.client_id,
        "request_id": trace.request_id,
        "steps": [dict(step) for step in trace.steps],
        "meaning": _Blanks().vformat(entry.meaning, (), noted),
        "fix": _Blanks().vformat(entry.fix, (), noted),
    }


def describe(told: TraceView) -> str:
    """Return the same for a terminal: lines of printable characters."""
    shown: Mapping[str, Any] = told
    lines = [f"{name}={shown[name]}" for name in ("reference", "time", "endpoint", "status", "error", "reason")]
    lines += [f"{name}={shown[name]}" for name in ("client_id", "request_id") if shown[name]]
    lines += [f"description={told['description']}", "", "steps:"]
    for number, step in enumerate(told["steps"], start=1):
        found = "  ".join(f"{name}={_spell(value)}" for name, value in step.items() if name != "step")
        lines.append(f"  {number}. {step['step']}" + (f": {found}" if found else ""))
    lines.append(f"  {len(told['steps']) + 1}. refused: {told['reason']}")
    lines += ["", f"meaning: {told['meaning']}", f"fix: {told['fix']}"]
    return "\n".join(without_controls(line) for line in lines)


def _spell(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(str, value)) or "none"
        case "":
            return "none"
        case _:
            return str(value)
