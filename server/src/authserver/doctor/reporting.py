"""What was found, in words and as JSON. The token appears in neither, whoever repeats it to us."""

from collections.abc import Callable, Iterator

from authserver.doctor.codes import Layer, Severity
from authserver.doctor.diagnosing import Diagnosis, Kind
from authserver.doctor.findings import Finding
from authserver.telemetry.decisions import REDACTED, without_controls

_LONGEST = 500
_SHORTEST_PART = 8
_NAMED = {Kind.MCP: "an MCP server", Kind.ISSUER: "an authorization server", None: "neither MCP server nor issuer"}


def is_healthy(diagnosis: Diagnosis) -> bool:
    """Tell whether nothing was found on account of which clients fail."""
    return all(found.code.severity is not Severity.FAULT for found in diagnosis.findings)


def as_members(diagnosis: Diagnosis, *, token: str | None = None) -> dict[str, object]:
    """Return the diagnosis as it is printed as JSON."""
    clean = cleaner(token)
    return {
        "url": clean(diagnosis.url),
        "kind": diagnosis.kind,
        "healthy": is_healthy(diagnosis),
        "layers": {str(layer): state for layer, state in states(diagnosis)},
        "findings": [
            {
                "code": found.code.name,
                "layer": found.code.layer,
                "severity": found.code.severity,
                "url": clean(found.url),
                "seen": clean(found.seen),
                "expected": None if found.expected is None else clean(found.expected),
                "meaning": found.code.meaning,
                "change": found.code.change,
            }
            for found in diagnosis.findings
        ],
        "requests": [
            {"method": visit.method, "url": clean(visit.url), "status": visit.status} for visit in diagnosis.visits
        ],
    }


def as_words(diagnosis: Diagnosis, *, token: str | None = None) -> str:
    """Return the diagnosis for a person."""
    clean = cleaner(token)
    named = _NAMED[diagnosis.kind] if diagnosis.visits else "nobody answered"
    lines = [f"{clean(diagnosis.url)}: {named}", ""]
    lines += [f"  {layer:<11} {state}" for layer, state in states(diagnosis)]
    for found in diagnosis.findings:
        lines += ["", *_describe(found, clean)]
    if not diagnosis.findings:
        lines += ["", "nothing is wrong"]
    return "\n".join(lines)


def states(diagnosis: Diagnosis) -> Iterator[tuple[Layer, str]]:
    """Yield each layer with what was found there: ok, a severity, or that the walk did not get there."""
    for layer in Layer:
        severities = {found.code.severity for found in diagnosis.findings if found.code.layer is layer}
        if severities:
            yield layer, min(severities)  # a fault goes before a warning
        else:
            yield layer, "ok" if layer in diagnosis.reached else "not examined"


def cleaner(token: str | None) -> Callable[[str], str]:
    """Return a function that takes the token, and what is no text for a terminal, out of what others said."""
    secrets = [] if not token else [token, *(part for part in token.split(".") if len(part) >= _SHORTEST_PART)]

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        text = without_controls(text)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

    return clean


def _describe(found: Finding, clean: Callable[[str], str]) -> Iterator[str]:
    yield f"{found.code.severity.upper()} {found.code.name} ({found.code.layer})"
    yield f"  {found.code.meaning}"
    if found.url:
        yield f"  at        {clean(found.url)}"
    yield f"  seen      {clean(found.seen)}"
    if found.expected is not None:
        yield f"  expected  {clean(found.expected)}"
    yield f"  change    {found.code.change}"
