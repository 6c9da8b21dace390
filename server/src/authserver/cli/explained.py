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
    is_explained = any(f"{kind.__module__}.{kind.__qualname__}" in _EXPLAINED for kind in type(exc).__mro__)
    return str(exc) if is_explained else None
