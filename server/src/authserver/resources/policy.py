"""Decisions over what an operator declared about a resource."""

from authserver.resources.records import Resource


def is_runtime_client(resource: Resource, client_id: str) -> bool:
    """Whether a client may act as this resource; nobody may unless named."""
    return client_id in resource.policy.runtime_client_ids


def may_exchange(resource: Resource, client_id: str) -> bool:
    """Whether a client other than the token's own may exchange tokens for this resource."""
    return client_id in resource.policy.exchange_allowed_client_ids or is_runtime_client(resource, client_id)
