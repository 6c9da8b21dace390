"""The OpenAPI 3.1 document of the public listener: what programs may send, and with what status it is answered.

What the values mean is said by the specifications that each operation names; the limits of form members are those of
``web/forms.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from authserver.web.forms import LONGEST

_FORM = "application/x-www-form-urlencoded"
_ERROR = {"$ref": "#/components/schemas/Error"}
# Of any request: its head is malformed or too long, there are too many, something of ours is broken.
_ANYWHERE = (400, 414, 429, 431, 500, 503)
_PAGE = (200, 303, 400, 401, 403)
_ANSWER = ("csrf_token", "action", "scopes")
_CLIENT = ("client_id", "client_secret", "client_assertion_type", "client_assertion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path.

    Attributes:
        kind: Media type of the answer.
        query: Names of query parameters.
        form: Names of form members; the first is required.
        body: The schema of a JSON body.
    """

    method: str
    path: str
    summary: str
    statuses: tuple[int, ...]
    kind: str = "application/json"
    query: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    body: Mapping[str, Any] | None = None


def _page(method: str, path: str, summary: str, *statuses: int, **members: Any) -> Operation:
    return Operation(
        method=method, path=path, summary=summary, statuses=(*_PAGE, *statuses), kind="text/html", **members
    )


def _document(path: str, summary: str, *statuses: int) -> Operation:
    return Operation(method="get", path=path, summary=summary, statuses=(200, *statuses))


_TEXTS = {"type": "array", "items": {"type": "string"}}
_METADATA = {
    "type": "object",
    "properties": {
        "client_name": {"type": "string"},
        "redirect_uris": _TEXTS,
        "grant_types": _TEXTS,
        "response_types": _TEXTS,
        "token_endpoint_auth_method": {"type": "string"},
        "application_type": {"type": "string"},
        "scope": {"type": "string"},
        "jwks": {"type": "object"},
        "jwks_uri": {"type": "string"},
        "dpop_bound_access_tokens": {"type": "boolean"},
        "agent": {"type": "boolean"},
        "agent_description": {"type": "string"},
    },
}
_AUTHORIZE = (
    "client_id",
    "response_type",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "dpop_jkt",
    "prompt",
    "max_age",
    "ticket",
)
_TOKEN = (
    "grant_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "scope",
    "resource",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "audience",
    "requested_token_type",
    "assertion",
    "device_code",
    *_CLIENT,
)
OPERATIONS = (
    _document("/.well-known/oauth-authorization-server", "Metadata of this server (RFC 8414)."),
    _document("/.well-known/openid-configuration", "The same, where OpenID clients look."),
    _document("/.well-known/jwks.json", "Public signing keys (RFC 7517).", 304),
    _document("/.well-known/oauth-protected-resource", "Metadata of the resource at this origin (RFC 9728).", 404),
    _document("/.well-known/oauth-protected-resource/{ref}", "Metadata of a resource (RFC 9728).", 404),
    _document("/livez", "The process serves."),
    _document("/health", "The database answers."),
    _document("/ready", "Requests can be served."),
    Operation(
        method="post",
        path="/oauth/token",
        summary="Get a token by one of the grants (RFC 6749, 7523, 8628, 8693).",
        statuses=(200, 400, 401, 403),
        form=_TOKEN,
    ),
    Operation(
        method="post",
        path="/oauth/introspect",
        summary="Ask about a token (RFC 7662).",
        statuses=(200, 400, 401),
        form=("token", "token_type_hint", *_CLIENT),
    ),
    Operation(
        method="post",
        path="/oauth/revoke",
        summary="Revoke a token (RFC 7009).",
        statuses=(200, 400, 401),
        form=("token", "token_type_hint", *_CLIENT),
    ),
    Operation(
        method="post",
        path="/oauth/register",
        summary="Register a client (RFC 7591).",
        statuses=(201, 400, 403),
        body=_METADATA,
    ),
    Operation(
        method="post",
        path="/oauth/device_authorization",
        summary="Start a device (RFC 8628).",
        statuses=(200, 400, 401),
        form=("client_id", "scope", "resource", "client_secret", "client_assertion_type", "client_assertion"),
    ),
    _page("get", "/oauth/authorize", "Ask a user for an authorization (RFC 6749).", 302, query=_AUTHORIZE),
    _page("get", "/authorize", "The same, for links that lead a user to consent.", 302, query=_AUTHORIZE),
    _page("post", "/authorize", "The answer to the question that such a link asks.", 302, form=_ANSWER),
    _page("get", "/consent", "The question.", 404, query=("session_id",)),
    _page("post", "/consent", "Its answer.", 302, 404, form=("session_id", *_ANSWER)),
    _page("get", "/login", "The page to sign in at.", query=("redirect",)),
    _page("post", "/login", "Sign in.", 422, form=("email", "password", "csrf_token", "redirect")),
    _page("post", "/logout", "Sign out.", form=("csrf_token",)),
    _page("get", "/device", "The page for the code of a device.", query=("user_code",)),
    _page(
        "post", "/device", "Take the code, or the answer.", 422, form=("user_code", "csrf_token", "action", "scopes")
    ),
    _page("get", "/", "Where a user is who follows no link."),
)


def build_public_document(*, version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        version: Of this program.
    """
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _build_operation(operation)
    properties = {name: {"type": "string"} for name in ("error", "error_description", "type", "title", "detail")}
    error = {
        "type": "object",
        "required": ["error", "error_description"],
        "properties": {**properties, "status": {"type": "integer"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "AuthPlane", "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": error}},
    }


def _build_operation(operation: Operation) -> dict[str, Any]:
    built: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {
            str(status): _build_response(operation, status) for status in sorted({*operation.statuses, *_ANYWHERE})
        },
    }
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "schema": _build_text(name)} for name in operation.query
    ]
    if "{ref}" in operation.path:
        ref = {"type": "string", "minLength": 1}
        parameters.append({"name": "ref", "in": "path", "required": True, "schema": ref})
    if parameters:
        built["parameters"] = parameters
    if operation.form:
        members = {name: _build_text(name) for name in operation.form}
        schema = {"type": "object", "required": [operation.form[0]], "properties": members}
        built["requestBody"] = {"required": True, "content": {_FORM: {"schema": schema}}}
    if operation.body is not None:
        built["requestBody"] = {"required": True, "content": {"application/json": {"schema": dict(operation.body)}}}
    return built


def _build_response(operation: Operation, status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if operation.kind == "text/html":
        response["content"] = {"text/html": {}}
    elif status >= HTTPStatus.BAD_REQUEST and operation.method == "post":
        response["content"] = {"application/problem+json": {"schema": _ERROR}}
    elif status in {HTTPStatus.OK, HTTPStatus.CREATED}:
        response["content"] = {operation.kind: {"schema": {"type": "object"}}}
    return response


def _build_text(name: str) -> dict[str, Any]:
    return {"type": "string", **({"maxLength": LONGEST[name]} if name in LONGEST else {})}
