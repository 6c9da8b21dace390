"""The ``resource`` parameter at the token endpoint: it may repeat what the grant is for, and nothing else."""

from authserver.authorization.records import Authorization
from authserver.protocol.errors import InvalidTarget
from authserver.protocol.quoting import quoted
from authserver.protocol.resource_indicators import fold_resource, one_resource
from authserver.resources.catalog import ResourceCatalog
from authserver.telemetry.notes import note
from authserver.web.forms import Form


async def check_target(form: Form, authorization: Authorization, *, catalog: ResourceCatalog) -> None:
    """Check that ``resource``, when sent, is the one fixed at authorization, by slug or URI (public API §9.2).

    Raises:
        InvalidTarget: It is another, an unknown one, or the grant is for none.
    """
    values = form.values("resource")
    if not values:
        return
    note("resource compared", requested=values, expected=authorization.resource)
    value = one_resource(values)
    if value is None:
        return
    named = await catalog.matches(value)
    granted = await catalog.get(authorization.resource_id) if authorization.resource_id else None
    if granted is not None and granted in named:
        return
    # The URI may have changed since: the audience is the one that was fixed then.
    if not named and authorization.resource and fold_resource(value) == fold_resource(authorization.resource):
        return
    if not named:
        raise InvalidTarget(f"resource {quoted(value)} is not a registered resource", reason="unknown_resource")
    raise InvalidTarget(f"resource {quoted(value)} was not authorized by this grant", reason="resource_not_authorized")
