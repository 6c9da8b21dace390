"""Assertions are used once: ids that were spent, by whoever chose them (storage, A9)."""

from authserver.protocol.identifiers import base64url, hash_token
from authserver.storage.database import Writer

KEPT_AFTER_EXPIRY = 60

# A row that has expired is as good as gone, whether or not a purge came by.
_SPEND = (
    "INSERT INTO assertion_jtis (issuer, jti, expires_at) VALUES ($1, $2, $3)"
    " ON CONFLICT (issuer, jti) DO UPDATE SET expires_at = excluded.expires_at WHERE assertion_jtis.expires_at < $4"
)


async def spend_assertion(tx: Writer, issuer: str, jti: str, *, expires_at: int, now: int) -> bool:
    """Spend an assertion. Of any number of callers at once, in any number of processes, one gets True.

    Args:
        tx: The transaction that spends it.
        issuer: Who chose the id: an identity provider, or ``client:`` and the client's id.
        jti: The id.
        expires_at: When the assertion expires; it is remembered for a minute more.
        now: Seconds since the epoch.
    """
    # Hashed, so that a row has a length that every index takes, whatever somebody chooses.
    digest = base64url(hash_token(jti))
    return await tx.execute(_SPEND, issuer, digest, expires_at + KEPT_AFTER_EXPIRY, now) == 1
