"""Resources of the configuration become rows at boot: each that is not there yet, and none is ever changed by it."""

from collections.abc import Sequence

from authserver.config.sections.clients import ResourceSeed
from authserver.protocol.operator_errors import Conflict, OperatorError
from authserver.resources.administration import ResourceAdministration, ResourceDraft
from authserver.resources.records import Resource, ResourcePolicy, ResourceScope
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import Reader
from authserver.telemetry.logs import get_logger

_log = get_logger("seed")


class SeedError(Exception):
    """An entry of the configuration cannot become a row; the server must not start."""


async def seed_resources(
    db: Reader, resources: ResourceAdministration, seeds: Sequence[ResourceSeed], *, now: int
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
            resource = await resources.create_resource(_draft(seed), now=now)
        except Conflict:
            continue
        except OperatorError as exc:
            raise _refused(position, seed, exc) from exc
        _log.info("resource seeded", resource_id=resource.id, slug=resource.slug)
        created.append(resource)
    return created


async def check_seeds(db: Reader, resources: ResourceAdministration, seeds: Sequence[ResourceSeed]) -> int:
    """Check what ``seed_resources`` would create, and create nothing; return how many.

    Raises:
        SeedError: An entry breaks a rule; the message names it.
    """
    unknown = 0
    for position, seed in enumerate(seeds):
        if await find_resource_by_slug(db, seed.slug.lower()):
            continue
        try:
            await resources.check_draft(_draft(seed))
        except OperatorError as exc:
            raise _refused(position, seed, exc) from exc
        unknown += 1
    return unknown


def _refused(position: int, seed: ResourceSeed, exc: OperatorError) -> SeedError:
    return SeedError(f'resources[{position}] (slug "{seed.slug}"): {exc}')


def _draft(seed: ResourceSeed) -> ResourceDraft:
    return ResourceDraft(
        slug=seed.slug,
        backend_kind=seed.backend_kind,
        uri=seed.uri,
        display_name=seed.display_name,
        broker_provider_id=seed.broker_provider_id,
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
