"""An installation that is ready for load: a client, somebody who has allowed it, a server that may ask about tokens."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from e2e.harness.inspection import Inspection
from e2e.harness.installation import Installation
from e2e.harness.invariants import check_recovered
from e2e.harness.load import Session
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person

LOAD_ENVIRONMENT = {
    # All load comes from one address.
    "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
    "AUTHPLANE_OBSERVABILITY_LOGGING_LEVEL": "warn",
}
_RESOURCE = "http://127.0.0.1:9/mcp"


@dataclass(frozen=True, slots=True)
class Site:
    """An installation and who uses it."""

    installation: Installation
    inspection: Inspection
    client: OAuthClient
    person: Person
    resource_client: tuple[str, str]

    async def check(self, sessions: Sequence[Session]) -> None:
        """Check that nothing was lost; the server must serve."""
        await check_recovered(self.inspection, self.client, sessions, resource_client=self.resource_client)


@contextmanager
def prepared_site(installation: Installation) -> Iterator[Site]:
    """Prepare an installation that is not running, and leave it so."""
    with installation.serve():
        resource_client = installation.create_resource_client()
        installation.create_resource(_RESOURCE, runtime_client_id=resource_client[0])
        person = Person(installation.create_user(), issuer=installation.issuer)
        client = OAuthClient(installation.issuer, resource=_RESOURCE)
        client.get_code(person)
    yield Site(installation, Inspection(installation.environment), client, person, resource_client)
    person.close()
