"""Has an endpoint of the admin API do what a command is for, and prints its answer (decision 0030).

Without ``--server`` the endpoint runs in this process, on the database of the configuration; with it, in the server. The
command neither knows nor cares: it names the endpoint, gives it what the flags say, and prints from the JSON.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click
import orjson

from authserver.cli.admin.transport import Answer, Refused, Transport
from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.cli.server_options import NamedServer, asks_server, named_server
from authserver.telemetry.decisions import without_controls

F = TypeVar("F", bound=Callable[..., None])

_JSON_TYPE = "application/json"
_PROBLEM_TYPE = "application/problem+json"
_PAGE = 500
_NO_CONTENT = 204
_SUCCESS = range(200, 300)
_PARAMETER = re.compile(r"\{(\w+)\}")

Values = Mapping[str, str | int | bool | None]


class Api:
    """The admin API, as a command uses it."""

    def __init__(self, transport: Transport, *, is_remote: bool, is_json: bool) -> None:
        """Take where it is, and whether the command prints JSON."""
        self._transport = transport
        self.is_remote = is_remote
        self.is_json = is_json

    def call(
        self, endpoint: str, *, query: Values | None = None, body: Mapping[str, Any] | None = None, **path: str
    ) -> Any:
        """Have an endpoint do something; return its answer, None without one.

        Args:
            endpoint: Method and path as in the table, parameters in braces: ``PATCH /admin/clients/{id}``.
            query: Parameters; None and False are left out, True is the text ``true``.
            body: Members; None is left out. None altogether when the endpoint takes no body.
            **path: The parameters of the path.

        Raises:
            Refused: It refuses: its sentence.
            ClickException: It cannot be asked.
        """
        method, _, template = endpoint.partition(" ")
        try:
            target = _PARAMETER.sub(lambda found: _segment(path[found[1]]), template) + _spell_query(query or {})
            sent = b"" if body is None else orjson.dumps({name: v for name, v in body.items() if v is not None})
        except (UnicodeEncodeError, orjson.JSONEncodeError) as exc:
            raise click.ClickException("what was given is not UTF-8") from exc
        return self._read(self._transport.send(method, target, sent))

    def call_pages(self, endpoint: str, *, query: Values | None = None) -> list[dict[str, Any]]:
        """Return all of a list that is read page by page, by ``limit`` and ``offset``.

        Raises:
            Refused: As above.
            ClickException: As above.
        """
        found: list[dict[str, Any]] = []
        while True:
            page = self.call(endpoint, query={**(query or {}), "limit": _PAGE, "offset": len(found)})
            found += page
            if len(page) < _PAGE:
                return found

    def now(self) -> int:
        """Return seconds since the epoch, by this machine's clock."""
        from authserver.core import Clock  # noqa: PLC0415  what it takes along is for commands that ask the time

        return Clock()()

    def tell(self, answer: object, *lines: str) -> None:
        """Print an answer: as the endpoint gave it with ``--json``, where None is nothing, else in these lines.

        Names that strangers chose are among what is told: no terminal is to obey them.
        """
        if not self.is_json:
            for line in lines:
                click.echo(without_controls(line))
        elif answer is not None:
            click.echo(as_json(answer))

    def tell_list(self, answer: object, lines: Iterable[str], *, none: str) -> None:
        """Print the answer of a list; in words, ``none`` when there are no lines."""
        self.tell(answer, *(tuple(lines) or (none,)))

    def _read(self, answer: Answer) -> Any:
        kind = answer.content_type.partition(";")[0].strip().lower()
        if answer.status == _NO_CONTENT:
            return None
        if kind not in {_JSON_TYPE, _PROBLEM_TYPE}:
            raise click.ClickException(self._transport.foreign(answer))
        try:
            value = orjson.loads(answer.body)
        except orjson.JSONDecodeError as exc:
            raise click.ClickException(self._transport.foreign(answer)) from exc
        if answer.status in _SUCCESS and kind == _JSON_TYPE:
            return value
        members: dict[str, Any] = value if isinstance(value, dict) else {}
        sentence = members.get("detail") or members.get("error_description")
        raise Refused(sentence if isinstance(sentence, str) else self._transport.foreign(answer), members)


def calls_api(*, actor: str = "admin", migrate: bool = True) -> Callable[[F], F]:
    """Make a function that takes an ``Api`` first what a command runs; the command has ``--json``.

    Args:
        actor: Whom the audit rows name when the endpoint runs in this process.
        migrate: Whether pending migrations are applied then.
    """

    def decorate(function: F) -> F:
        @switch("--json", "json_wanted", help="Print JSON, as the admin API answers it.")
        @click.pass_context
        @functools.wraps(function)
        def run(ctx: click.Context, /, *, json_wanted: bool, **options: Any) -> None:
            server = named_server(ctx)
            transport = _local(ctx.obj, actor, migrate=migrate) if server is None else _remote(server)
            with closing(transport), _answers_of(server):
                function(Api(transport, is_remote=server is not None, is_json=json_wanted), **options)

        asks_server(run)
        return run  # type: ignore[return-value]  # click calls it with what the options say

    return decorate


@contextmanager
def _answers_of(server: NamedServer | None) -> Iterator[None]:
    """Have an answer that is JSON of another form than the endpoint's told as what it is: somebody else's."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as exc:
        if server is None:
            raise
        raise click.ClickException(f"{server.url} does not answer as this version of the admin API does") from exc


# Imported when they are needed: neither waits for what the other takes.
def _local(config_path: str | None, actor: str, *, migrate: bool) -> Transport:
    from authserver.cli.admin.local import Local  # noqa: PLC0415  as above

    return Local(config_path, actor=actor, migrate=migrate)


def _remote(server: NamedServer) -> Transport:
    from authserver.cli.admin.remote import Remote  # noqa: PLC0415  as above

    return Remote(server)


def _segment(value: str) -> str:
    escaped = quote(value, safe="")
    # Else whoever stands in between may take them for steps.
    return escaped.replace(".", "%2E") if escaped in {".", ".."} else escaped


def _spell_query(query: Values) -> str:
    given = {
        name: "true" if value is True else value
        for name, value in query.items()
        if value is not None and value is not False
    }
    return f"?{urlencode(given)}" if given else ""
