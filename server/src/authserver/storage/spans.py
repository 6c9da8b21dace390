"""Names what a caller does with the database, for the spans of a request that is traced.

A span covers what its caller waits for: a read, or a whole unit of work with its turn, its statements and the flush of the
commit that it shares with others. What the statements of one unit take apart is not told: on PostgreSQL those of several
callers go out together.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from authserver.telemetry.spans import NO_SPAN, Span, SpanKind, current_span

_STORES = {"sqlite": "SQLite", "postgres": "Postgres"}

_READS = {
    "find_client": "ClientGetByID",
    "read_client": "ClientGetByID",
    "find_code": "SessionGetByCodeHash",
    "find_code_and_client": "SessionGetByCodeHash",
    "find_pending": "SessionGetByID",
    "find_refresh_token": "TokenGetRefreshByHash",
    "find_refresh_token_and_client": "TokenGetRefreshByHash",
    "find_spent_refresh_token": "TokenGetRefreshByHash",
    "find_family": "TokenGetFamily",
    "list_families": "TokenListFamilies",
    "find_issued": "IssuanceGetByJTI",
    "find_issuance": "IssuanceGetByID",
    "find_issued_and_client": "IssuanceGetByJTI",
    "find_user": "UserGetByID",
    "read_user": "UserGetByID",
    "find_signed_in": "UserGetByID",
    "find_signed_in_and_consent": "UserGetByID",
    "find_user_by_email": "UserGetByEmail",
    "find_grant": "BrokerGrantGet",
    "list_grants_of_user": "BrokerGrantListForUser",
}
_UNITS = {
    "Decisions._insert": "SessionCreate",
    "Decisions.approve": "SessionUpdateCodeHash",
    "Decisions.deny": "SessionDelete",
    "Redemption.redeem": "SessionConsumeByCodeHash",
    "RefreshTokenGrant._rotate": "TokenConsumeRefresh",
    "Families._revoke_family_half": "TokenRevokeFamily",
    "Families.revoke_after_reuse": "RevokeByFamily",
    "RevocationEndpoint._revoke_family": "TokenRevokeFamily",
    "RevocationEndpoint._revoke_access_token": "RevokeJTI",
    "TokenAdministration._revoke_family": "TokenRevokeFamily",
    "TokenAdministration._revoke_machine_token": "RevokeJTI",
    "_write_nothing": "DPoPConsumeJTI",
    "BrokerGrantAdministration.set": "BrokerGrantUpsert",
    "BrokerGrantAdministration.revoke": "BrokerGrantRevoke",
    "ClientCredentialsGrant.issue": "IssuanceInsert",
    "ExchangeIssuer._record": "IssuanceInsert",
    "JwtBearerGrant._issue": "IssuanceInsert",
}
"""The names that operators know, for the functions that do this; others are named like the function."""


def reading(dialect: str) -> Any:
    """Return the span of a read, named after the function that asked the caller of this one; to be entered."""
    present = current_span()
    if present is None:
        return NO_SPAN
    # The frame is asked for the name instead of a hundred functions for an argument that only few requests need.
    return _begin(present, dialect, _read_name(sys._getframe(2).f_code.co_name))  # noqa: SLF001  as in logs


def writing(dialect: str, transaction: Callable[..., Any]) -> Any:
    """Return the span of a unit of work, named after the function that it was written in; to be entered."""
    present = current_span()
    if present is None:
        return NO_SPAN
    return _begin(present, dialect, _unit_name(getattr(transaction, "__qualname__", "write")))


def _begin(present: Span, dialect: str, name: str) -> Any:
    return present.child(f"{_STORES[dialect]}.{name}", SpanKind.CLIENT, {})


@lru_cache(maxsize=512)
def _read_name(function: str) -> str:
    return _READS.get(function) or _camel(function)


@lru_cache(maxsize=512)
def _unit_name(qualname: str) -> str:
    """Return the name for a function inside another one: the outer one says more, as inner ones are called alike."""
    outer = qualname.partition(".<locals>")[0]
    return _UNITS.get(outer) or "".join(map(_camel, outer.split(".")))


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
