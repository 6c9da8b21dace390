"""Scopes: the wire string, and which scopes a request gets.

A scope is an opaque word, compared exactly; there is no hierarchy and no wildcard (public API, 9.3). Where the order
is seen by a client or a user, scopes are tuples; bounds are sets.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from authserver.protocol.errors import GENERIC_SCOPE, InvalidScope
from authserver.protocol.quoting import quoted

_BLANKS = re.compile(r"[ \t\r\n\f\v]+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]*")
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e \t\r\n\f\v]*")


def parse_scopes(scope: str) -> tuple[str, ...]:
    """Return the words of a ``scope`` parameter, each once, in the order sent.

    Raises:
        InvalidScope: A word holds a character outside RFC 6749 §3.3.
    """
    if not _SCOPES.fullmatch(scope):
        word = next(word for word in _BLANKS.split(scope) if not _SCOPE.fullmatch(word))
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(word)} holds a character that no scope may have", reason="scope_malformed"
        )
    return tuple(dict.fromkeys(scope.split()))


def build_scope(scopes: Iterable[str]) -> str:
    """Return scopes as they go on the wire: separated by one space."""
    return " ".join(scopes)


def keep_scopes(scopes: Iterable[str], *, within: Collection[str]) -> tuple[str, ...]:
    """Return those of ``scopes`` that lie within a bound, in their order."""
    return tuple([scope for scope in scopes if scope in within])


def find_outside(scopes: Iterable[str], *, bound: Collection[str]) -> str | None:
    """Return the first of ``scopes`` that lies outside a bound, or None."""
    for scope in scopes:
        if scope not in bound:
            return scope
    return None


def choose_authorization_scopes(
    requested: str | None,
    *,
    catalog: Sequence[str],
    ceiling: Collection[str],
    require_scope: bool,
    resource_named: bool,
) -> tuple[str, ...]:
    """Decide which scopes an authorization request asks for (public API, 9.3).

    Args:
        requested: The ``scope`` parameter as sent; blank counts as absent.
        catalog: The scopes of the named Resource, or of all Resources together when none is named, in their order.
        ceiling: The client's registered scopes; empty means unset and does not bound.
        require_scope: ``oauth.require_scope``.
        resource_named: Whether the request names a Resource, by itself or through ``oauth.default_resource``.

    Returns:
        At least one scope: as requested, or else the catalogue within the ceiling, in the catalogue's order.

    Raises:
        InvalidScope: A rule of the table refuses; the description tells which.
    """
    scopes = parse_scopes(requested or "")
    if not scopes:
        return _unrequested(catalog, ceiling, require_scope=require_scope, resource_named=resource_named)
    if ceiling and (outside := find_outside(scopes, bound=ceiling)):
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is outside the client's registered scope (its ceiling)",
            reason="scope_outside_ceiling",
        )
    if resource_named and not catalog:
        raise InvalidScope("no scopes registered for resource", reason="resource_without_scopes")
    if outside := find_outside(scopes, bound=catalog):
        where = "the resource" if resource_named else "any registered resource"
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is not a scope of {where}", reason="scope_not_in_catalog"
        )
    return scopes


def _unrequested(
    catalog: Sequence[str], ceiling: Collection[str], *, require_scope: bool, resource_named: bool
) -> tuple[str, ...]:
    """Decide for a request that states no scope."""
    if require_scope:
        raise InvalidScope("scope parameter is required (oauth.require_scope=true)", reason="scope_required")
    if not catalog and resource_named:
        raise InvalidScope(f"{GENERIC_SCOPE}: the resource declares no scopes", reason="resource_without_scopes")
    if not catalog:
        raise InvalidScope(f"{GENERIC_SCOPE}: no registered resource declares any scope", reason="no_scopes_registered")
    scopes = keep_scopes(catalog, within=ceiling or catalog)
    if not scopes:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: no scope of the resource lies within the client's registered scope",
            reason="ceiling_excludes_all",
        )
    return scopes


def choose_machine_scopes(
    requested: str | None, *, ceiling: Sequence[str], catalog: Sequence[str] | None
) -> tuple[str, ...]:
    """Decide which scopes a machine's own token has (public API, 8.5).

    Args:
        requested: The ``scope`` parameter as sent; blank counts as absent.
        ceiling: The client's registered scopes, in their order; the caller refused a client without any.
        catalog: The scopes of the named Resource; None when none is named.

    Returns:
        At least one scope: as requested, or else the ceiling, within the catalogue of a named Resource.

    Raises:
        InvalidScope: The request exceeds a bound, and is never narrowed; or nothing is left.
    """
    scopes = parse_scopes(requested or "")
    if outside := find_outside(scopes, bound=ceiling):
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is outside the client's registered scope (its ceiling)",
            reason="scope_outside_ceiling",
        )
    if catalog is None:
        return scopes or tuple(dict.fromkeys(ceiling))
    if outside := find_outside(scopes, bound=catalog):
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is not a scope of the resource", reason="scope_not_in_catalog"
        )
    scopes = scopes or keep_scopes(dict.fromkeys(ceiling), within=catalog)
    if not scopes:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: no scope of the resource lies within the client's registered scope",
            reason="ceiling_excludes_all",
        )
    return scopes


def choose_refresh_scopes(requested: str | None, *, family: Sequence[str], ceiling: Collection[str]) -> tuple[str, ...]:
    """Decide which scopes a refreshed access token has (public API, 10).

    Args:
        requested: The ``scope`` parameter as sent; blank counts as absent.
        family: The scopes granted when the family began; they never change.
        ceiling: The client's registered scopes as of now; empty means unset and does not bound.

    Returns:
        At least one scope, in the family's order.

    Raises:
        InvalidScope: The request exceeds the grant or the ceiling, or the ceiling leaves nothing of the grant.
    """
    scopes = parse_scopes(requested or "")
    if outside := find_outside(scopes, bound=family):
        raise InvalidScope(f"{GENERIC_SCOPE}: {quoted(outside)} was not granted", reason="scope_not_granted")
    if ceiling and (outside := find_outside(scopes, bound=ceiling)):
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is outside the client's registered scope (its ceiling)",
            reason="scope_outside_ceiling",
        )
    effective = keep_scopes(family, within=scopes or ceiling or family)
    if not effective:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: no granted scope lies within the client's registered scope any more",
            reason="ceiling_excludes_all",
        )
    return effective


def choose_asserted_scopes(
    requested: str | None, *, ceiling: Sequence[str], asserted: Collection[str] | None
) -> tuple[str, ...]:
    """Decide which scopes an identity assertion buys, but for what the resource bounds (XAA, step 11).

    Args:
        requested: The ``scope`` parameter as sent; blank counts as absent.
        ceiling: The client's registered scopes, in their order.
        asserted: What the assertion allows at most; None when it does not say.

    Returns:
        At least one scope: as requested, or else what both bounds leave.

    Raises:
        InvalidScope: The client has no scopes, nothing is left, or the request exceeds a bound.
    """
    if not ceiling:
        raise InvalidScope("client has no registered scopes", reason="client_scope_empty")
    effective = ceiling if asserted is None else keep_scopes(ceiling, within=asserted)
    if not effective:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: no scope of the assertion lies within the client's registered scope",
            reason="assertion_excludes_all",
        )
    scopes = parse_scopes(requested or "")
    if outside := find_outside(scopes, bound=effective):
        if outside not in ceiling:
            raise InvalidScope(
                f"{GENERIC_SCOPE}: {quoted(outside)} is outside the client's registered scope (its ceiling)",
                reason="scope_outside_ceiling",
            )
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is outside what the assertion allows", reason="scope_not_asserted"
        )
    return scopes or tuple(effective)


def choose_catalog_scopes(scopes: Sequence[str], *, catalog: Collection[str], is_explicit: bool) -> tuple[str, ...]:
    """Bound scopes by what the resource declares (XAA, step 12; ruling R22).

    Args:
        scopes: What else may be granted.
        catalog: The scopes of the resource.
        is_explicit: Whether the request named them: then one outside is refused, else left out.

    Raises:
        InvalidScope: A named one is outside, or nothing is left.
    """
    outside = find_outside(scopes, bound=catalog)
    if is_explicit and outside is not None:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: {quoted(outside)} is not a scope of the resource", reason="scope_not_in_catalog"
        )
    effective = keep_scopes(scopes, within=catalog)
    if not effective:
        raise InvalidScope(
            f"{GENERIC_SCOPE}: no scope of the resource may be granted here", reason="ceiling_excludes_all"
        )
    return effective
