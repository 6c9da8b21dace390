"""Faults of ours that the specification gives a reason (token exchange, section 14)."""

from collections.abc import Iterator
from contextlib import contextmanager

from authserver.protocol.errors import OAuthError, ServerError
from authserver.storage.database import StorageUnavailable


@contextmanager
def fault_is(reason: str) -> Iterator[None]:
    """Give what goes wrong inside a reason. A database that is away is no fault of that step: it answers 503.

    Raises:
        ServerError: Something went wrong.
    """
    try:
        yield
    except (OAuthError, StorageUnavailable):
        raise
    except Exception as exc:
        raise ServerError(reason=reason) from exc
