"""What is asked of every endpoint that only reads, with each filter it has, on the database that ``work.fill`` made."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from authserver.admin.endpoint import AdminEndpoint, Query
from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time
from filling import client_id, user_id
from server.tests.wire.harness import RESOURCE, Wire

BUSY, RARE = 0, 22
"""The client, and the user, of a quarter of everything, and one of a few rows."""
PAGE = {"limit": "50"}

Request = dict[str, Any]
"""Path parameters under their names, and ``query`` and ``body``."""
Asked = dict[tuple[str, str], list[Request]]


async def ask_everything(wire: Wire) -> Asked:
    """Return what is asked, by method and path of the table."""
    row = await wire.core.db.fetch_one(
        "SELECT id FROM issuance_rows WHERE kind = 'user'"
        f" AND client_number = (SELECT number FROM names WHERE name = '{client_id(RARE)}')"
    )
    assert row is not None
    token = spell_id(row["id"])
    return {
        **_asked_of_people(wire, token),
        **_asked_of_history(wire, token),
        **_asked_of_resources(wire),
        **_asked_of_enterprises(),
        ("GET", "/admin/settings/dcr"): [{}],
        ("GET", "/admin/stats"): [{}],
        ("GET", "/admin/system/status"): [{}],
        ("GET", "/admin/system/config"): [{}],
        ("GET", "/admin/keys"): [{}],
        ("GET", "/admin/operators"): [{"query": {**PAGE, "offset": "0"}}],
        ("GET", "/admin/openapi.json"): [{}],
        ("POST", "/admin/tools/simulate"): [
            {"body": {"client_id": client_id(1), "user_id": user_id(1), "resource": RESOURCE, "scope": "notes:read"}}
        ],
        ("POST", "/admin/tools/token-inspect"): [{"body": {"token": "e30.e30.e30"}}],
    }


def _asked_of_people(wire: Wire, token: str) -> Asked:
    busy, rare = client_id(BUSY), client_id(RARE)
    statuses = [{"status": status, **PAGE} for status in ("active", "suspended", "revoked", "no such")]
    sources = [{"source": source, **PAGE} for source in ("dcr", "admin", "cimd", "no such")]
    both = [{"status": "suspended", "source": "admin"}, {"status": "active", "source": "dcr", "offset": "5000"}]
    pages = [{}, PAGE, {"limit": "1200"}, {"offset": "4000", **PAGE}]
    of_whom = [{"client_id": busy}, {"client_id": rare}, {"user_id": user_id(BUSY)}, {"user_id": user_id(RARE)}]
    of_both = [{"client_id": rare, "user_id": user_id(BUSY)}, {"client_id": "nobody"}]
    after = [{"after": "start", **PAGE}, {"after": token, **PAGE}]
    whose = [PAGE, {"offset": "9"}, {"after": token}]
    return {
        ("GET", "/admin/clients"): _queries(
            *pages, {"after": rare, **PAGE}, {"last_used": "true"}, *statuses, *sources, *both
        ),
        ("GET", "/admin/clients/{id}"): [{"id": rare}, {"id": "nobody"}],
        ("GET", "/admin/tokens"): _queries(*pages, *after, *of_whom, *of_both),
        ("GET", "/admin/users/{id}/tokens"): [{"id": user_id(BUSY), **each} for each in _queries(*whose)],
        ("GET", "/admin/users"): _queries({}, PAGE, {"after": user_id(9000), **PAGE}),
        ("GET", "/admin/users/{id}"): [{"id": user_id(RARE)}],
        ("GET", "/admin/users/{id}/grants"): [{"id": user_id(BUSY)}, {"id": user_id(RARE)}],
    }


def _asked_of_history(wire: Wire, token: str) -> Asked:
    busy, rare = client_id(BUSY), client_id(RARE)
    week = spell_time(wire.clock.seconds - 7 * 86_400)
    of_whom = [{"user": user_id(BUSY)}, {"user": user_id(RARE)}, {"client": busy}, {"client": rare}]
    of_all = {"user": user_id(RARE), "client": rare, "resource": wire.resource.id}
    events = [
        {"limit": "1000"},
        {"until": spell_time(wire.clock.seconds - 86_400), **PAGE},
        {"offset": "2000", **PAGE},
        {"cursor": token, **PAGE},
        {"action": "token.issued"},
        {"action": "nothing"},
        {"actor_id": user_id(BUSY)},
        {"client_id": busy},
        {"client_id": busy, "offset": "500"},
        {"client_id": busy, "actor_id": busy},
        {"client_id": busy, "actor_id": user_id(BUSY), "action": "user.login"},
        {"client_id": rare, "actor_id": user_id(RARE), "action": "user.login"},
    ]
    return {
        ("GET", "/admin/audit"): _queries({}, *({"since": week, **each} for each in events)),
        ("GET", "/admin/issuances"): _queries(
            *({"since": week, **PAGE, **each} for each in (*of_whom, {"resource": wire.resource.id})),
            of_all,
            {"jti": token, "user": user_id(RARE)},
        ),
        ("GET", "/admin/issuances/{id}"): [{"id": token}],
        ("GET", "/admin/issuances/{id}/lineage"): [{"id": token}],
    }


def _asked_of_resources(wire: Wire) -> Asked:
    both = {"source": "notes", "target": "notes"}
    lists = ("policy/exchange/allowed-clients", "policy/connect/allowed-return-urls", "policy/runtime/client-ids")
    return {
        ("GET", "/admin/resources"): _queries(
            {**PAGE, "offset": "0"}, {"backend_kind": "mint"}, {"broker_provider_id": "none"}, {"slug": "notes"}
        ),
        ("GET", "/admin/resources/{id}"): [{"id": wire.resource.id}],
        **{("GET", f"/admin/resources/{{slug}}/{each}"): [{"slug": "notes"}] for each in (*lists, "fronting")},
        ("GET", "/admin/fronting"): _queries({**both, **PAGE, "offset": "0"}),
        ("GET", "/admin/fronting/{source}/{target}"): [both],
    }


def _asked_of_enterprises() -> Asked:
    return {
        ("GET", "/admin/idps"): [{}],
        ("GET", "/admin/idps/{id}"): [{"id": "none"}],
        ("GET", "/admin/xaa/policies"): _queries({}, {"idp_id": "none"}),
        ("GET", "/admin/xaa/policies/{id}"): [{"id": "none"}],
        ("GET", "/admin/xaa/subject-mappings"): _queries({}, {"idp_id": "grown-idp"}),
    }


def _queries(*queries: dict[str, str]) -> list[Request]:
    return [{"query": query} for query in queries]


def add_unnamed(asked: Asked, endpoints: Iterable[AdminEndpoint]) -> Asked:
    """Return what is asked, and of endpoints and parameters that are in none of it something, too."""
    values = {Query.TEXT: "none", Query.FLAG: "true", Query.NUMBER: "1", Query.TIME: "2026-09-14T14:13:20Z"}
    more: Asked = {}
    for entry in endpoints:
        named = asked.get((entry.method, entry.path), [])
        used = {name for request in named for name in request.get("query", ())}
        place: Request = dict.fromkeys(entry.parameters, "none")
        rest = [{**place, "query": {name: values[kind]}} for name, kind in entry.query.items() if name not in used]
        more[entry.method, entry.path] = [*named, *rest] or [place]
    return more


def spelled(asked: Asked) -> Iterator[tuple[str, str, Request]]:
    """Yield method, path and the rest of each request."""
    for (method, template), requests in asked.items():
        for request in requests:
            yield method, re.sub(r"\{(\w+)\}", lambda name: str(request[name[1]]), template), request  # noqa: B023
