"""Whether a policy lets an assertion through (XAA, section 6). None at all means no."""

from collections.abc import Collection, Iterable

from authserver.protocol.resource_indicators import fold_resource
from authserver.xaa.records import XaaPolicy


def find_matching(
    policies: Iterable[XaaPolicy], *, client_id: str, resource: str | None, scopes: Collection[str]
) -> XaaPolicy | None:
    """Return the first policy that lets everything through, or None; a policy never narrows.

    Args:
        policies: Of the provider, in the order to try them.
        client_id: Who presents the assertion.
        resource: What the token is to be for, or None.
        scopes: What is to be granted; never empty.
    """
    return next((policy for policy in policies if _matches(policy, client_id, resource, scopes)), None)


def _matches(policy: XaaPolicy, client_id: str, resource: str | None, scopes: Collection[str]) -> bool:
    return (
        policy.enabled
        and (not policy.client_ids or client_id in policy.client_ids)
        and (not policy.resources or (resource is not None and _names(policy.resources, resource)))
        and (policy.scopes is None or set(scopes) <= set(policy.scopes))
    )


def _names(resources: tuple[str, ...], resource: str) -> bool:
    return fold_resource(resource) in map(fold_resource, resources)
