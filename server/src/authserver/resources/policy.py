"""Decisions over what an operator declared about a resource."""

from authserver.resources.records import Resource


def is_runtime_client(resource: Resource, client_id: str) -> bool:
    """Whether a client may act as this resource; nobody may unless named."""
    return client_id in resource.policy.runtime_client_ids


def may_exchange(resource: Resource, client_id: str) -> bool:
    """Whether a client other than the token's own may exchange tokens for this resource."""
    return client_id in resource.policy.exchange_allowed_client_ids or is_runtime_client(resource, client_id)


def passes_allow_list(resource: Resource, client_id: str) -> bool:
    """Whether the list of who may exchange for this resource lets a client through: an empty list lets everybody."""
    allowed = resource.policy.exchange_allowed_client_ids
    return not allowed or client_id in allowed


def is_gateway(source: Resource, target: Resource, client_id: str) -> bool:
    """Whether a client may use the fronting link between two resources."""
    return is_runtime_client(source, client_id) or client_id in target.policy.exchange_allowed_client_ids
