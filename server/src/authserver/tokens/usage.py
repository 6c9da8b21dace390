"""When a client was last used, as operators want to know it: nothing is written for that."""

from authserver.authorization.store import find_last_authorization
from authserver.protocol.identifiers import second_of
from authserver.storage.database import Reader
from authserver.tokens.store import find_last_issuance


async def find_last_used(db: Reader, client_id: str) -> int | None:
    """Return when a client last began an authorization or was given a token, in seconds since the epoch, or None.

    Two index look-ups: identifiers begin with the time. Of history that was purged nothing is known.
    """
    ids = (await find_last_issuance(db, client_id), await find_last_authorization(db, client_id))
    return max((second_of(identifier) for identifier in ids if identifier is not None), default=None)
