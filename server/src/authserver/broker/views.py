"""How providers and credentials are shown to operators, by the command line and the admin API alike: never a secret."""

from typing import Any, NotRequired

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.broker.records import BrokerGrant, BrokerProvider
from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time


class BrokerProviderView(TypedDict):
    """An upstream service of the token vault; ``config_data`` as stored, which is without secrets."""

    id: str
    slug: str
    display_name: str
    protocol: str
    config_data: dict[str, Any]
    created_at: str
    updated_at: str


class BrokerGrantView(TypedDict):
    """That a user has a credential at a provider, and what it is good for; never the credential."""

    id: str
    user_id: str
    broker_provider_id: str
    scopes_granted: list[str]
    enc_backend: str
    version: int
    created_at: str
    updated_at: str
    revoked_at: NotRequired[str]


def build_provider(provider: BrokerProvider) -> BrokerProviderView:
    """Return the object that stands for a provider in JSON (admin API, section 9)."""
    return BrokerProviderView(
        id=provider.id,
        slug=provider.slug,
        display_name=provider.display_name,
        protocol=str(provider.protocol),
        config_data=dict(provider.config_data),
        created_at=spell_time(provider.created_at),
        updated_at=spell_time(provider.updated_at),
    )


def build_grant(grant: BrokerGrant) -> BrokerGrantView:
    """Return the object that stands for a credential in JSON (admin API, section 10)."""
    view = BrokerGrantView(
        id=spell_id(grant.id),
        user_id=grant.user_id,
        broker_provider_id=grant.broker_provider_id,
        scopes_granted=list(grant.scopes),
        enc_backend=grant.credential.backend,
        version=grant.version,
        created_at=spell_time(grant.created_at),
        updated_at=spell_time(grant.updated_at),
    )
    if grant.revoked_at is not None:
        view["revoked_at"] = spell_time(grant.revoked_at)
    return view
