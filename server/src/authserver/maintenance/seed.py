"""Entries of the configuration become rows at boot: each that is not there yet, and none is ever changed by it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from authserver.broker.administration import BrokerProviderAdministration, ProviderDraft
from authserver.broker.records import BrokerProvider
from authserver.broker.store import find_provider_by_slug
from authserver.config.sections.clients import BrokerProviderSeed, ResourceSeed
from authserver.protocol.operator_errors import Conflict, Invalid, OperatorError
from authserver.resources.administration import ResourceAdministration, ResourceDraft
from authserver.resources.records import Resource, ResourcePolicy, ResourceScope
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import Reader
from authserver.telemetry.logs import get_logger

_log = get_logger("seed")


class SeedError(Exception):
    """An entry of the configuration cannot become a row; the server must not start."""


async def seed_providers(
    db: Reader, providers: BrokerProviderAdministration, seeds: Sequence[BrokerProviderSeed], *, now: int
) -> list[BrokerProvider]:
    """Create the providers whose slug is not known yet, as ``seed_resources`` does; to be done before it."""
    created = []
    for position, seed in enumerate(seeds):
        if await find_provider_by_slug(db, seed.slug.lower()):
            continue
        try:
            provider = await providers.create(_provider_draft(seed), now=now)
        except Conflict:
            continue
        except OperatorError as exc:
            raise _refused("broker_providers", position, seed, exc) from exc
        _log.info("broker provider seeded", provider_id=provider.id, slug=provider.slug)
        created.append(provider)
    return created


async def seed_resources(
    db: Reader,
    resources: ResourceAdministration,
    providers: BrokerProviderAdministration,
    seeds: Sequence[ResourceSeed],
    *,
    now: int,
) -> list[Resource]:
    """Create the resources whose slug is not known yet; return those created (configuration, section 4).

    Several instances may do this at once: one creates, the others find it there.

    Raises:
        SeedError: An entry breaks a rule; the message names it.
    """
    created = []
    for position, seed in enumerate(seeds):
        if await find_resource_by_slug(db, seed.slug.lower()):
            continue
        try:
            draft = _draft(seed, await _provider_of(seed, providers))
            resource = await resources.create_resource(draft, now=now)
        except Conflict:
            continue
        except OperatorError as exc:
            raise _refused("resources", position, seed, exc) from exc
        _log.info("resource seeded", resource_id=resource.id, slug=resource.slug)
        created.append(resource)
    return created


async def check_provider_seeds(
    db: Reader, providers: BrokerProviderAdministration, seeds: Sequence[BrokerProviderSeed]
) -> int:
    """Check what ``seed_providers`` would create, and create nothing; return how many.

    Raises:
        SeedError: An entry breaks a rule; the message names it.
    """
    unknown = 0
    for position, seed in enumerate(seeds):
        if await find_provider_by_slug(db, seed.slug.lower()):
            continue
        try:
            providers.check_draft(_provider_draft(seed))
        except OperatorError as exc:
            raise _refused("broker_providers", position, seed, exc) from exc
        unknown += 1
    return unknown


async def check_seeds(
    db: Reader,
    resources: ResourceAdministration,
    providers: BrokerProviderAdministration,
    seeds: Sequence[ResourceSeed],
    *,
    to_come: Sequence[BrokerProviderSeed],
) -> int:
    """Check what ``seed_resources`` would create, and create nothing; return how many.

    Args:
        db: Where to look.
        resources: Checks.
        providers: Knows those that are there.
        seeds: The entries.
        to_come: The providers that will be there by then.

    Raises:
        SeedError: An entry breaks a rule; the message names it.
    """
    named = {seed.slug.lower() for seed in to_come}
    unknown = 0
    for position, seed in enumerate(seeds):
        if await find_resource_by_slug(db, seed.slug.lower()):
            continue
        try:
            provider_id = await _provider_of(seed, providers, to_come=named)
            if seed.broker_provider_id:
                await providers.get(provider_id)
            await resources.check_draft(_draft(seed, provider_id))
        except OperatorError as exc:
            raise _refused("resources", position, seed, exc) from exc
        unknown += 1
    return unknown


def _refused(key: str, position: int, seed: ResourceSeed | BrokerProviderSeed, exc: OperatorError) -> SeedError:
    return SeedError(f'{key}[{position}] (slug "{seed.slug}"): {exc}')


def _provider_draft(seed: BrokerProviderSeed) -> ProviderDraft:
    return ProviderDraft(
        slug=seed.slug, display_name=seed.display_name, protocol=seed.protocol, config_data=seed.config_data
    )


async def _provider_of(
    seed: ResourceSeed, providers: BrokerProviderAdministration, *, to_come: AbstractSet[str] = frozenset()
) -> str:
    """Return the id of the provider that an entry names, or the slug of one to come; empty when it names none."""
    if seed.broker_provider_id and seed.broker_provider_slug:
        raise Invalid("broker_provider_id and broker_provider_slug exclude each other")
    if seed.broker_provider_slug in to_come:
        return seed.broker_provider_slug
    return await providers.get_id(provider_id=seed.broker_provider_id, slug=seed.broker_provider_slug)


def _draft(seed: ResourceSeed, provider_id: str) -> ResourceDraft:
    return ResourceDraft(
        slug=seed.slug,
        backend_kind=seed.backend_kind,
        uri=seed.uri,
        display_name=seed.display_name,
        broker_provider_id=provider_id,
        scopes=tuple(
            ResourceScope(name=scope.name, upstream=scope.upstream, description=scope.description)
            for scope in seed.scopes
        ),
        policy=ResourcePolicy(
            exchange_allowed_client_ids=seed.policy.exchange.allowed_client_ids,
            runtime_client_ids=seed.policy.runtime.client_ids,
            connect_allowed_return_urls=seed.policy.connect.allowed_return_urls,
            dpop_required=seed.policy.dpop.required,
        ),
    )
