"""What every PostgreSQL connection of ours has in common: its settings, and how its failures are told apart."""

import asyncio

import asyncpg

from authserver.storage.database import ReferenceViolation, StorageUnavailable, UniqueViolation

CACHED_STATEMENTS = 256
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10
SERVER_SETTINGS = {
    "application_name": "authserver",
    "timezone": "UTC",
    "statement_timeout": "10000",
    "lock_timeout": "500",
    "idle_in_transaction_session_timeout": "15000",
    # A token is answered after its rows are on disk, whatever the server's own default is.
    "synchronous_commit": "on",
    # Firewalls forget who is silent for minutes, and the pool never looks after its least number of connections.
    "tcp_keepalives_idle": "60",
    # Every statement of ours is a point statement; compiling it costs more than running it.
    "jit": "off",
    # A plan is made once and kept, perhaps from when a table was empty: it must use the index all the same.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    # What asyncpg raises when a connection dies between two messages.
    asyncpg.InternalClientError,
)
GONE = (
    *LOST,
    asyncio.TimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
)


class Contended(StorageUnavailable):
    """Somebody else holds a row that one unit needs; its neighbours need not suffer."""


def translated(exc: BaseException) -> BaseException:
    """Return our exception for one of the driver's, or the same one when it is a fault of ours."""
    match exc:
        case asyncpg.UniqueViolationError():
            return UniqueViolation(exc.constraint_name or "unique")
        case asyncpg.ForeignKeyViolationError() | asyncpg.RestrictViolationError():
            return ReferenceViolation(exc.constraint_name or "foreign key")
        case asyncpg.LockNotAvailableError() | asyncpg.QueryCanceledError():
            return Contended(f"PostgreSQL makes this wait: {type(exc).__name__}")
        case _ if isinstance(exc, GONE + RETRIED):
            return StorageUnavailable(f"PostgreSQL does not answer: {type(exc).__name__}")
        case _:
            return exc
