"""The OpenAPI 3.1 document, made from the table of endpoints."""

from collections.abc import Iterable
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from authserver.admin.endpoint import LONGEST_PARAMETER, AdminEndpoint, Query
from authserver.protocol.client_id_urls import MAX_CLIENT_ID_URL_CHARACTERS

_SCHEMAS = "#/components/schemas/"
_PARAMETERS = MappingProxyType(
    {
        Query.TEXT: {"type": "string"},
        Query.FLAG: {"type": "string", "enum": ["true", "false"]},
        Query.NUMBER: {"type": "integer"},
        Query.TIME: {"type": "string", "format": "date-time"},
    }
)
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_SHORT = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}
# What every endpoint may answer, beside its own.
_EVERYWHERE = (400, 401, 403, 414, 429, 431, 500, 503)
_IN_SHORT = frozenset({401, 429})


def build_document(table: Iterable[AdminEndpoint], *, version: str) -> dict[str, Any]:
    """Return the document of some endpoints.

    Args:
        table: The endpoints.
        version: Of this program.
    """
    endpoints = list(table)
    schemas, definitions = _build_schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _build_operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AuthPlane admin API", "version": version},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Problem": _PROBLEM, "ShortError": _SHORT, **dict(sorted(definitions.items()))},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _build_schemas(endpoints: list[AdminEndpoint]) -> tuple[dict[tuple[str, str], Any], dict[str, Any]]:
    """Return the schema of each body and answer by operation and direction, and the definitions that they refer to."""
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for endpoint in endpoints:
        if endpoint.body is not None:
            wanted.append((endpoint.name, "validation", TypeAdapter(endpoint.body)))
        if endpoint.answer is not None:
            wanted.append((endpoint.name, "serialization", TypeAdapter(endpoint.answer)))
    schemas, rest = TypeAdapter.json_schemas(wanted, ref_template=_SCHEMAS + "{model}")
    return {(str(name), mode): schema for (name, mode), schema in schemas.items()}, rest.get("$defs", {})


def _build_operation(endpoint: AdminEndpoint, schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[2].removesuffix(".json")],
        "x-least-role": str(endpoint.role),
        "responses": _build_responses(endpoint, schemas),
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": _longest_parameter(endpoint)},
        }
        for name in endpoint.parameters
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": _PARAMETERS[kind]}
        for name, kind in endpoint.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        content = {"application/json": {"schema": schemas[endpoint.name, "validation"]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _build_responses(endpoint: AdminEndpoint, schemas: dict[tuple[str, str], Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in (endpoint.status, *endpoint.also):
        responses[str(status)] = {"description": HTTPStatus(status).phrase}
        if endpoint.answer is not None:
            content = {"application/json": {"schema": schemas[endpoint.name, "serialization"]}}
            responses[str(status)]["content"] = content
    for status in sorted({*_EVERYWHERE, *endpoint.refusals}):
        media_type, schema = (
            ("application/json", "ShortError") if status in _IN_SHORT else ("application/problem+json", "Problem")
        )
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {media_type: {"schema": {"$ref": _SCHEMAS + schema}}},
        }
    return responses


def _longest_parameter(endpoint: AdminEndpoint) -> int:
    """Return how many characters a parameter of the path may have: more only where it may be the URL of a client."""
    return MAX_CLIENT_ID_URL_CHARACTERS if endpoint.path.startswith("/admin/clients/") else LONGEST_PARAMETER
