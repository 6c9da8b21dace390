"""The steps of a decision, noted while it is made, so that a refusal can be explained afterwards.

Noting costs a request that succeeds next to nothing: what was noted is cleaned and kept only when the request is refused.
What may be noted is a closed set of fields (``StepFields``), none of which is for a secret. As a second line, what is kept
loses the query of every URI and everything that has the form of a token, a secret or an e-mail address.
"""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypedDict

import orjson

MOST_STEPS = 40
MOST_ENTRIES = 12
LONGEST_VALUE = 200
_LONGEST_EXAMINED = 4096
_MOST_BYTES = 8192

_QUERY = re.compile(r"(?<=[^\s'\"])[?#][^\s'\"]+")
_USER_INFORMATION = re.compile(r"://[^\s/'\"?#@]*@")
# Begins where such characters begin: tried at each of them, a long run would cost its length squared.
_ADDRESS = re.compile(r"(?<![^\s'\"@:/,])[^\s'\"@:/,]+@[^\s'\"@:/,]+")
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9_.-]*")
# Codes, refresh tokens, client secrets, verifiers and challenges of usual length are 43 characters; identifiers are shorter.
_SECRET = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")
REDACTED = "[redacted]"


class StepFields(TypedDict, total=False):
    """What a step may tell. Nothing here is for codes, tokens, secrets, verifiers, assertions, states or addresses.

    Attributes:
        authentication: How a client proved itself, or should have.
        cause: Why something failed, in words of ours.
        ceiling: The client's registered scope; empty is no bound.
        catalog: The scopes that the resource declares.
        expected: What the sent value was compared with.
        found: What the store said, in words of ours.
        matched: The registered value that the sent one stands for, or None.
        seconds: How long, how old or until when.
        setting: A configuration key, with its value.
    """

    allowed: bool
    authentication: str | None
    cause: str
    ceiling: str
    catalog: Collection[str]
    client_id: str
    expected: str | None
    found: str
    grant_type: str
    grant_types: Collection[str]
    matched: str | None
    method: str | None
    parameter: str
    parameters: Collection[str]
    prompt: Collection[str]
    redirect_uri: str | None
    registered: Collection[str]
    requested: Collection[str] | str | None
    resource: str | None
    result: Collection[str]
    seconds: int
    setting: str
    source: str
    status: str
    user_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal with the decision that led to it, ready to be kept.

    Attributes:
        reference: Its reference id.
        error: The code, or the title of the page.
        client_id: The client concerned, or empty.
        decision: JSON: what was asked, what was answered, and the steps; no secret in it, at most a few kilobytes.
        is_anonymous: Whether anybody can cause this without being signed in or proving to be a client.
    """

    reference: str
    error: str
    client_id: str
    decision: str
    is_anonymous: bool


Keep = Callable[[Refused], None]


class Decision:
    """The steps of one request.

    Attributes:
        endpoint: Method and route.
        request_id: As in ``X-Request-ID``.
        is_anonymous: Nobody has proved anything yet.
        is_kept: Whether anybody wants to know.
        fault_reference: The reference id of the request's own fault, whoever speaks of it.
    """

    __slots__ = ("_keep", "endpoint", "fault_reference", "is_anonymous", "is_kept", "request_id", "steps")

    def __init__(self, endpoint: str, request_id: str, keep: Keep | None) -> None:
        """Begin; without ``keep`` nothing is noted."""
        self.endpoint = endpoint
        self.request_id = request_id
        self.is_anonymous = True
        self.fault_reference = ""
        self.is_kept = keep is not None
        self.steps: list[tuple[str, StepFields]] = []
        self._keep = keep

    def clean_steps(self) -> list[dict[str, object]]:
        """Return the steps as they may be kept and shown: without secrets, at most a few kilobytes."""
        steps: list[dict[str, object]] = []
        size = 0
        for step, fields in self.steps:
            told = {name: _told(value) for name, value in fields.items()}
            size += len(step) + sum(len(str(value)) for value in told.values())
            if size > _MOST_BYTES:
                steps.append({"step": "the rest was too long to keep"})
                break
            steps.append({"step": step, **told})
        return steps

    def refuse(self, *, reference: str, error: str, reason: str, description: str, status: int) -> None:
        """Keep the decision: the request is refused."""
        if self._keep is None:
            return
        steps = self.clean_steps()
        client_id = next((str(step["client_id"]) for step in reversed(steps) if step.get("client_id")), "")
        answer = {
            "endpoint": self.endpoint,
            "request_id": without_secrets(self.request_id),
            "status": status,
            "reason": reason,
            "description": _short(description),
            "steps": steps,
        }
        self._keep(
            Refused(
                reference=reference,
                error=_short(error),
                client_id=client_id,
                decision=_dump(answer),
                is_anonymous=self.is_anonymous,
            )
        )


def without_controls(text: str) -> str:
    """Return a text whose control and invisible characters became U+FFFD: no terminal and no database minds it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _told(value: object) -> object:
    match value:
        case None | bool() | int():
            return value
        case str():
            return _short(value)
        case Collection():
            entries = sorted(value) if isinstance(value, frozenset | set) else list(value)
            told = [_short(str(entry)) for entry in entries[:MOST_ENTRIES]]
            return [*told, f"and {len(entries) - MOST_ENTRIES} more"] if len(entries) > MOST_ENTRIES else told
        case _:
            return REDACTED


def _short(text: str) -> str:
    # Cleaned before it is cut, as half a secret would not be known again, and before it is JSON, whose escapes are not to
    # be torn apart.
    text = without_secrets(text[:_LONGEST_EXAMINED])
    if len(text) > LONGEST_VALUE:
        text = text[: LONGEST_VALUE - 3] + "..."
    return without_controls(text)


def without_secrets(text: str) -> str:
    """Return a text without queries, user information, and what has the form of a secret."""
    if "@" in text:
        text = _ADDRESS.sub("[address]", _USER_INFORMATION.sub("://", text))
    if "?" in text or "#" in text:
        text = _QUERY.sub("?...", text)
    if "eyJ" in text:
        text = _JWT.sub(REDACTED, text)
    return _SECRET.sub(REDACTED, text)


def _dump(answer: dict[str, object]) -> str:
    try:
        return orjson.dumps(answer).decode()
    except orjson.JSONEncodeError:
        # Numbers that only hostile input has.
        return json.dumps(answer)
