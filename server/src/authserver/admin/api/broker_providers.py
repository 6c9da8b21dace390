"""``/admin/broker-providers`` (admin API, 9)."""

from typing import Any

from pydantic import Field

from authserver.admin.endpoint import Call, Query, StrictBody, endpoint
from authserver.admin.records import Role
from authserver.broker.administration import ProviderDraft, ProviderPatch
from authserver.broker.views import BrokerProviderView, build_provider


class ProviderBody(StrictBody):
    """What a provider is made of; the first three are required. ``null`` is no ``config_data``, as nothing else is."""

    slug: str | None = None
    display_name: str | None = None
    protocol: str | None = None
    config_data: dict[str, Any] = Field(default_factory=dict)


class ProviderPatchBody(ProviderBody):
    """What may change; ``config_data`` is replaced whole."""


@endpoint("GET", "/admin/broker-providers", role=Role.READ_ONLY, refusals=(404,), query={"slug": Query.TEXT})
async def list_broker_providers(call: Call[None]) -> list[BrokerProviderView] | BrokerProviderView:
    """List the providers of the token vault, by their slugs; with ``slug``, show that one."""
    slug = call.query.get("slug")
    if slug is not None:
        return build_provider(await call.parts.broker_providers.get_by_slug(slug))
    return [build_provider(provider) for provider in await call.parts.broker_providers.every()]


@endpoint("POST", "/admin/broker-providers", role=Role.OPERATOR, status=201, refusals=(409,))
async def create_broker_provider(call: Call[ProviderBody]) -> BrokerProviderView:
    """Register a provider. A secret in ``config_data`` is encrypted apart, and never shown."""
    body = call.body
    draft = ProviderDraft(
        slug=body.slug or "",
        display_name=body.display_name or "",
        protocol=body.protocol or "",
        config_data=body.config_data,
    )
    return build_provider(await call.parts.broker_providers.create(draft, now=call.now))


@endpoint("GET", "/admin/broker-providers/{id}", role=Role.READ_ONLY, refusals=(404,))
async def get_broker_provider(call: Call[None]) -> BrokerProviderView:
    """Show a provider."""
    return build_provider(await call.parts.broker_providers.get(call.path["id"]))


@endpoint("PATCH", "/admin/broker-providers/{id}", role=Role.OPERATOR, refusals=(404, 409))
async def update_broker_provider(call: Call[ProviderPatchBody]) -> BrokerProviderView:
    """Change a provider; an empty patch changes nothing."""
    body = call.body
    patch = ProviderPatch(
        slug=body.slug,
        display_name=body.display_name,
        protocol=body.protocol,
        config_data=body.config_data if "config_data" in body.model_fields_set else None,
    )
    return build_provider(await call.parts.broker_providers.update(call.path["id"], patch, now=call.now))


@endpoint("DELETE", "/admin/broker-providers/{id}", role=Role.OPERATOR, status=204, refusals=(404, 409))
async def delete_broker_provider(call: Call[None]) -> None:
    """Delete a provider that no resource and no credential refers to."""
    await call.parts.broker_providers.delete(call.path["id"], now=call.now)


ENDPOINTS = (
    list_broker_providers,
    create_broker_provider,
    get_broker_provider,
    update_broker_provider,
    delete_broker_provider,
)
