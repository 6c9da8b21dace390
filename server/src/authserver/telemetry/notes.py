"""Notes about the present request: what was looked at on the way to its answer, and that the answer is a refusal."""

from typing import Unpack

from authserver.protocol.errors import new_reference
from authserver.telemetry.decisions import MOST_STEPS, StepFields
from authserver.telemetry.origin import current_origin


def note(step: str, **fields: Unpack[StepFields]) -> None:
    """Note a step of the decision that the present request asks for.

    Args:
        step: What was looked at, in plain words; the same words each time.
        **fields: What was found. Values are not copied: nothing may change them afterwards.
    """
    decision = current_origin().decision
    if decision is not None and decision.is_kept and len(decision.steps) < MOST_STEPS:
        decision.steps.append((step, fields))


def identified() -> None:
    """Say that the present request proved to be a client's or a user's: its refusal is not for anybody to cause."""
    decision = current_origin().decision
    if decision is not None:
        decision.is_anonymous = False


def refuse(*, reference: str, error: str, reason: str, description: str, status: int) -> None:
    """Keep the decision of the present request under a reference id: it is a refusal."""
    decision = current_origin().decision
    if decision is not None:
        decision.refuse(reference=reference, error=error, reason=reason, description=description, status=status)


def fault_reference() -> str:
    """Return the reference id of the present request's fault: one for each request, whoever speaks of it first."""
    decision = current_origin().decision
    if decision is None:
        return new_reference()
    if not decision.fault_reference:
        decision.fault_reference = new_reference()
    return decision.fault_reference
