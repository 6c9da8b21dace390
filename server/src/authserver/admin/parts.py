"""What the endpoints of the admin API work with."""

from collections.abc import Callable
from dataclasses import dataclass

from authserver.admin.operators import OperatorAdministration
from authserver.clients.administration import ClientAdministration
from authserver.resources.administration import ResourceAdministration
from authserver.resources.fronting_administration import FrontingAdministration
from authserver.resources.policy_lists import PolicyLists
from authserver.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """The parts that ``app.py`` hands to the admin API; an endpoint that needs one more adds it here and there.

    Attributes:
        clock: Seconds since the epoch.
        version: Of this program.
    """

    db: Database
    clock: Callable[[], int]
    version: str
    clients: ClientAdministration
    operators: OperatorAdministration
    resources: ResourceAdministration
    policy_lists: PolicyLists
    fronting: FrontingAdministration
