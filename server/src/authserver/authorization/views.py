"""How a consent is shown to operators, by the command line and the admin API alike."""

from typing import NotRequired

# Not typing's: pydantic reads these on Python 3.11 too.
from typing_extensions import TypedDict

from authserver.authorization.records import ConsentGrant
from authserver.protocol.identifiers import spell_id
from authserver.protocol.times import spell_time


class ConsentView(TypedDict):
    """What a user allowed a client."""

    id: str
    user_id: str
    client_id: str
    resource_id: str
    scopes: list[str]
    created_at: str
    updated_at: str
    revoked_at: NotRequired[str]


def build_consent(consent: ConsentGrant) -> ConsentView:
    """Return the object that stands for a consent in JSON (admin API, section 10)."""
    view = ConsentView(
        id=spell_id(consent.id),
        user_id=consent.user_id,
        client_id=consent.client_id,
        resource_id=consent.resource_id,
        scopes=list(consent.scopes),
        created_at=spell_time(consent.created_at),
        updated_at=spell_time(consent.updated_at),
    )
    if consent.revoked_at is not None:
        view["revoked_at"] = spell_time(consent.revoked_at)
    return view
