"""How a resource is shown to operators, by the command line and the admin API alike."""

from datetime import UTC, datetime
from typing import Any

from authserver.resources.records import BackendKind, FrontingLink, Resource, ResourceScope


def build_resource(resource: Resource) -> dict[str, Any]:
    """Return the object that stands for a resource in JSON."""
    policy: dict[str, Any] = {
        "exchange": {"allowed_client_ids": list(resource.policy.exchange_allowed_client_ids)},
        "runtime": {"client_ids": list(resource.policy.runtime_client_ids)},
    }
    if resource.policy.dpop_required:
        policy["dpop"] = {"required": True}
    if resource.backend_kind is BackendKind.BROKER:
        policy["connect"] = {"allowed_return_urls": list(resource.policy.connect_allowed_return_urls)}
    return {
        "id": resource.id,
        "slug": resource.slug,
        "uri": resource.uri,
        "display_name": resource.display_name,
        "backend_kind": str(resource.backend_kind),
        "broker_provider_id": resource.broker_provider_id or "",
        "scopes": [_build_scope(scope) for scope in resource.scopes],
        "policy": policy,
        "created_at": build_time(resource.created_at),
        "updated_at": build_time(resource.updated_at),
    }


def build_link(link: FrontingLink) -> dict[str, Any]:
    """Return the object that stands for a fronting link in JSON."""
    return {
        "source_slug": link.source,
        "target_slug": link.target,
        "scope_map": {source: list(targets) for source, targets in link.scope_map.items()},
        "created_at": build_time(link.created_at),
        "created_by": link.created_by,
    }


def _build_scope(scope: ResourceScope) -> dict[str, str]:
    optional = {"description": scope.description, "upstream": scope.upstream}
    return {"name": scope.name, **{key: value for key, value in optional.items() if value}}


def build_time(seconds: int) -> str:
    """Return a time as operators are shown it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
