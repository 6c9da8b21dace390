"""The trusted providers and their policies, held in memory and kept current.

Read at every assertion, changed by operators alone. Its size is the number of providers and policies that they made; a
change is obeyed within two seconds (topic ``xaa`` of ``storage/changes.py``).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from authserver.storage.database import Database
from authserver.xaa.records import TrustedIdp, XaaPolicy
from authserver.xaa.store import list_idps, list_policies

TOPIC = "xaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredIdp:
    """A provider with its policies, in the order in which they are tried."""

    idp: TrustedIdp
    policies: tuple[XaaPolicy, ...]


class IdpRegistry:
    """The trusted providers. Register ``refresh`` for ``TOPIC`` before the first request is served."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_issuer: Mapping[str, RegisteredIdp] | None = None
        self._loading = asyncio.Lock()

    async def refresh(self) -> None:
        """Read all anew.

        Raises:
            StorageUnavailable: They cannot be read; what was known stays.
        """
        await self._load()

    async def find(self, issuer: str) -> RegisteredIdp | None:
        """Return the provider of an issuer, enabled or not; None for a stranger."""
        by_issuer = self._by_issuer
        if by_issuer is None:
            by_issuer = await self._load()
        return by_issuer.get(issuer)

    async def _load(self) -> Mapping[str, RegisteredIdp]:
        # One reading at a time: what is installed last was read last.
        async with self._loading:
            policies = await list_policies(self._db)
            self._by_issuer = {
                idp.issuer: RegisteredIdp(
                    idp=idp, policies=tuple(policy for policy in policies if policy.idp_id == idp.id)
                )
                for idp in await list_idps(self._db)
            }
            return self._by_issuer
