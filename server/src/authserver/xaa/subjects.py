"""Who the user of an assertion is here (XAA, section 7)."""

from dataclasses import dataclass

from authserver.protocol.errors import IdentityUnmapped, InvalidGrant
from authserver.protocol.id_jag import IdJag
from authserver.storage.database import Database
from authserver.telemetry.metrics import XAA_SUBJECT_RESOLUTIONS
from authserver.telemetry.notes import note
from authserver.xaa.records import TrustedIdp
from authserver.xaa.store import find_mapped_user


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """Finds the ``sub`` of tokens.

    Attributes:
        is_strict: Whether a user that nobody mapped is refused.
    """

    db: Database
    is_strict: bool

    async def resolve(self, assertion: IdJag, idp: TrustedIdp) -> str:
        """Return who the token is about: a user's id, or ``<iss>:<sub>`` of somebody without an account here.

        Raises:
            IdentityUnmapped: Nobody mapped the user, and only mapped ones are let through.
            InvalidGrant: The user they stand for is disabled or gone.
        """
        mapped = await find_mapped_user(self.db, idp.id, assertion.subject)
        if mapped is None:
            return self._resolve_unmapped(assertion)
        if mapped.user_id is None:
            note("subject looked up", found="mapped to no account")
            XAA_SUBJECT_RESOLUTIONS.inc("mapped")
            return assertion.foreign_subject
        note("subject looked up", found="mapped to a user", user_id=mapped.user_id)
        if not mapped.is_active:
            XAA_SUBJECT_RESOLUTIONS.inc("denied")
            raise InvalidGrant(reason="user_inactive")
        XAA_SUBJECT_RESOLUTIONS.inc("mapped")
        return mapped.user_id

    def _resolve_unmapped(self, assertion: IdJag) -> str:
        if self.is_strict:
            note("subject looked up", found="no mapping", setting="xaa.subject_mode=strict")
            XAA_SUBJECT_RESOLUTIONS.inc("denied")
            raise IdentityUnmapped("no subject mapping found for identity", reason="subject_mapping_failed")
        XAA_SUBJECT_RESOLUTIONS.inc("auto_map")
        return assertion.foreign_subject
