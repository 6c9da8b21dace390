"""Faults of ours that the specification gives a reason (token exchange, section 14)."""

from collections.abc import Iterator
from contextlib import contextmanager

from authserver.protocol.errors import OAuthError, ServerError, SigningUnavailable
from authserver.storage.database import StorageUnavailable


@contextmanager
def fault_is(reason: str) -> Iterator[None]:
    """Give what goes wrong inside a reason. A database that is away is no fault of that step: it answers 503.

    Raises:
        ServerError: Something went wrong; a ``SigningUnavailable`` when no signature was to be had.
    """
    try:
        yield
    except SigningUnavailable as exc:
        raise SigningUnavailable(reason=reason) from exc
    except (OAuthError, StorageUnavailable):
        raise
    except Exception as exc:
        raise ServerError(reason=reason) from exc
