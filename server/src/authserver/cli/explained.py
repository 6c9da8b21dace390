"""Which failures an operator is told in one line."""

# By name, so that a command that fails early does not wait for packages it never used.
_EXPLAINED = frozenset(
    {
        "authserver.cli.worker_group.WorkersFailed",
        "authserver.config.declaring.ConfigError",
        "authserver.keys.keystore.KeyStoreError",
        "authserver.maintenance.seed.SeedError",
        "authserver.protocol.operator_errors.OperatorError",
        "authserver.storage.database.StorageUnavailable",
        "authserver.storage.migrate.MigrationError",
        "authserver.web.run.ListenError",
    }
)
"""Failures that their message explains; anything else is a bug and keeps its traceback."""


def explain(exc: Exception) -> str | None:
    """Return what went wrong in words for the operator; None when it is a bug."""
    if _lacks_table(exc):
        return f"run authserver migrate first: {exc}"
    is_explained = any(f"{kind.__module__}.{kind.__qualname__}" in _EXPLAINED for kind in type(exc).__mro__)
    return str(exc) if is_explained else None


def _lacks_table(exc: Exception) -> bool:
    """Whether a command that applies no migrations met a database that needs them."""
    name = f"{type(exc).__module__}.{type(exc).__qualname__}"
    is_sqlite = name == "sqlite3.OperationalError" and str(exc).startswith("no such table: ")
    return is_sqlite or name == "asyncpg.exceptions.UndefinedTableError"
