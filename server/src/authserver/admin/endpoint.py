"""One endpoint of the admin API as a record, and one call of it.

An endpoint is an async function that takes a ``Call`` and returns what is answered as JSON; ``@endpoint`` turns it into a
record of the table. Its docstring, the body in ``Call[...]`` and the return type are what the OpenAPI document says.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict

from authserver.admin.parts import AdminParts
from authserver.admin.records import Operator, Role
from authserver.protocol.operator_errors import Invalid
from authserver.protocol.times import parse_time
from authserver.web.forms import Form
from authserver.web.http import HttpRequest, HttpResponse

MAX_BODY_BYTES = 1024 * 1024
LONGEST_PARAMETER = 256

B = TypeVar("B")

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


class Body(BaseModel):
    """A body whose unknown members are ignored. ``null`` is as good as absent, so each member may be None."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)


class StrictBody(Body):
    """A body whose unknown members are refused."""

    model_config = ConfigDict(extra="forbid")


class Query(StrEnum):
    """What a query parameter is, as the document tells it."""

    TEXT = "text"
    FLAG = "flag"
    NUMBER = "number"
    TIME = "time"


@dataclass(slots=True, kw_only=True)
class Call(Generic[B]):
    """One request, let in and read.

    Attributes:
        path: The parameters of the path, decoded.
        body: The body, checked; None when the endpoint takes none.
        now: Seconds since the epoch.
        status: What is answered if all goes well; an endpoint with more than one chooses.
        may_go_on: Whether the sender's key still lets them in, for an answer that takes long.
    """

    parts: AdminParts
    request: HttpRequest
    operator: Operator
    path: Mapping[str, str]
    query: Form
    body: B
    now: int
    status: int
    may_go_on: Callable[[], Awaitable[bool]]

    def flag(self, name: str) -> bool:
        """Tell whether a query parameter is switched on: by the exact text ``true`` alone."""
        return self.query.get(name) == "true"

    def number(self, name: str, *, default: int, least: int, most: int) -> int:
        """Return a number of the query.

        Raises:
            Invalid: It is none, or out of bounds.
        """
        text = self.query.get(name)
        if text is None:
            return default
        number = int(text) if _NUMBER.fullmatch(text) else None
        if number is None or not least <= number <= most:
            raise Invalid(f"{name} must be {least}..{most}")
        return number

    def integer(self, name: str, *, default: int) -> int:
        """Return a number of the query whose bounds are another's to check.

        Raises:
            Invalid: It is none.
        """
        text = self.query.get(name)
        if text is None:
            return default
        if not _NUMBER.fullmatch(text):
            raise Invalid(f"{name} must be a whole number")
        return int(text)

    def time(self, name: str) -> int | None:
        """Return a time of the query in seconds since the epoch; None when it is absent.

        Raises:
            Invalid: It is none.
        """
        text = self.query.get(name)
        time = None if text is None else parse_time(text)
        if time is None and text is not None:
            raise Invalid(f"{name} must be a time as in RFC 3339")
        return time

    def lenient_number(self, name: str, *, default: int, least: int) -> int:
        """Return a number of the query; the default when it is none or below the least."""
        text = self.query.get(name) or ""
        number = int(text) if _NUMBER.fullmatch(text) else default
        return min(number, 2**31 - 1) if number >= least else default


Handler = Callable[[Call[B]], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminEndpoint:
    """An endpoint.

    Attributes:
        path: Parameters stand in braces, each for one segment.
        role: The least that may use it.
        resources: The parameters of the path that name a resource, ``id`` its id and all others slugs: who is for some
            resources only may use it for those. None: it is about more, and not for them; empty: it is for everybody.
        status: Of a success.
        also: Further statuses of a success.
        refusals: Statuses beside those that every endpoint has.
        unknown: What is answered when there is no such thing.
        query: Names of query parameters, and what each is.
        body: The model of the body, or None.
        answer: The type of what is answered as JSON; None without one, and for an answer that is made of bytes.
    """

    method: str
    path: str
    role: Role
    resources: tuple[str, ...] | None
    status: int
    also: tuple[int, ...]
    refusals: tuple[int, ...]
    unknown: int
    query: Mapping[str, Query]
    max_body: int
    handle: Handler[Any]
    body: type[BaseModel] | None
    answer: Any

    @property
    def name(self) -> str:
        """The function's name: unique, and the operation id of the document."""
        return self.handle.__name__

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters of its path, in order."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.handle.__doc__ or "").partition("\n")[0]


def _choose_answer(annotation: Any) -> Any:
    """Return the one type of a function's result that is answered as JSON, or None."""
    types = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    return next((kind for kind in types if kind not in {type(None), HttpResponse}), None)


def endpoint(
    method: str,
    path: str,
    *,
    role: Role,
    resources: tuple[str, ...] | None = None,
    status: int = 200,
    also: tuple[int, ...] = (),
    refusals: tuple[int, ...] = (),
    unknown: int = 404,
    query: Mapping[str, Query] | None = None,
    max_body: int = MAX_BODY_BYTES,
) -> Callable[[Handler[B]], AdminEndpoint]:
    """Make an endpoint of a function; see ``AdminEndpoint`` for the arguments."""

    def decorate(handle: Handler[B]) -> AdminEndpoint:
        hints = get_type_hints(handle)
        answer = hints.pop("return")
        (body,) = get_args(hints.popitem()[1])
        return AdminEndpoint(
            method=method,
            path=path,
            role=role,
            resources=resources,
            status=status,
            also=also,
            refusals=refusals,
            unknown=unknown,
            query=query or {},
            max_body=max_body,
            handle=handle,
            body=None if body is type(None) else body,
            answer=_choose_answer(answer),
        )

    return decorate
