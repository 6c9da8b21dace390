"""Which scopes an exchanged token gets: an exchange can only narrow (token exchange, section 7).

What a client asks for keeps its order; what is derived is sorted. The subject token's own scope bounds only when there
is one: a token without it says who somebody is and nothing else.
"""

from collections.abc import Collection, Mapping, Sequence

from authserver.protocol.errors import InvalidScope
from authserver.protocol.quoting import quoted
from authserver.protocol.scopes import find_outside

ScopeMap = Mapping[str, Sequence[str]]
"""Scope of the source to those of the target that it stands for."""

_NOTHING_LEFT = "no scope is left that this exchange may give: name one"


def split_scope(scope: str | None) -> tuple[str, ...]:
    """Return the words of a ``scope`` parameter, each once, as sent; a word that no scope may be is in no bound either."""
    return tuple(dict.fromkeys((scope or "").split()))


def check_in_catalog(requested: Sequence[str], *, catalog: Collection[str]) -> None:
    """Check that the target declares what is asked for (step 6).

    Raises:
        InvalidScope: It does not.
    """
    if outside := find_outside(requested, bound=catalog):
        raise InvalidScope(f"{quoted(outside)} is not a scope of the resource", reason="scope_not_in_catalog")


def check_subject_ceiling(requested: Sequence[str], *, subject: Collection[str]) -> None:
    """Check that nothing is asked for that the subject token does not have (steps M5 and B4).

    Raises:
        InvalidScope: Something is.
    """
    if subject and (outside := find_outside(requested, bound=subject)):
        raise InvalidScope(
            f"{quoted(outside)} is outside the scope of the subject token", reason="subject_scope_ceiling"
        )


def derive_consented(
    *, granted: Collection[str], catalog: Collection[str], subject: Collection[str]
) -> tuple[str, ...]:
    """Return what an omitted scope means where the user's consent bounds: nothing, perhaps (section 7.1)."""
    return tuple(sorted(scope for scope in set(granted) & set(catalog) if not subject or scope in subject))


def choose_own(requested: Sequence[str], *, subject: Collection[str], catalog: Collection[str]) -> tuple[str, ...]:
    """Return the scopes of an exchange of a client's own token (step M6).

    Raises:
        InvalidScope: None was asked for, and the subject token has none of the target.
    """
    return _or_refuse(requested or sorted(set(subject) & set(catalog)))


def choose_consented(
    requested: Sequence[str], *, granted: Collection[str], catalog: Collection[str], subject: Collection[str]
) -> tuple[str, ...]:
    """Return the scopes of an exchange by consent; that they are granted is for the caller to check (step M9).

    Raises:
        InvalidScope: None was asked for, and none is granted that the target and the subject token have.
    """
    return _or_refuse(requested or derive_consented(granted=granted, catalog=catalog, subject=subject))


def choose_inherited(requested: Sequence[str], *, subject: Sequence[str]) -> tuple[str, ...]:
    """Return the scopes of an exchange that names no resource: perhaps none (section 5.5, steps 2 and 4).

    Raises:
        InvalidScope: One is asked for that the subject token does not have.
    """
    if outside := find_outside(requested, bound=subject):
        raise InvalidScope(f"{quoted(outside)} is outside the scope of the subject token", reason="invalid_scope")
    return tuple(requested or sorted(set(subject)))


def check_not_empty(scopes: Sequence[str]) -> None:
    """Check that an exchange leaves something to be allowed.

    Raises:
        InvalidScope: It leaves nothing.
    """
    _or_refuse(scopes)


def choose_mapped(requested: Sequence[str], *, scope_map: ScopeMap, subject: Collection[str]) -> tuple[str, ...]:
    """Return the scopes of a fronted exchange for a Mint target (section 7.2).

    Of several scopes of the source that stand for one of the target, the first in the alphabet counts, and it alone.

    Raises:
        InvalidScope: A scope is asked for that the link does not map, or that the subject token does not cover, or it
            covers none.
    """
    first = {target: sources[0] for target, sources in sources_of(scope_map).items()}
    if unmapped := find_outside(requested, bound=first):
        raise InvalidScope(f"the fronting link maps nothing to {quoted(unmapped)}", reason="fronting_scope_unmapped")
    uncovered = next((target for target in requested if first[target] not in subject), None)
    if uncovered is not None:
        raise InvalidScope(
            f"the subject token does not cover {quoted(uncovered)} by the fronting link",
            reason="fronting_subject_scope_insufficient",
        )
    scopes = requested or sorted(target for target, source in first.items() if source in subject)
    if not scopes:
        raise InvalidScope(
            "the subject token covers no scope of the fronting link", reason="fronting_subject_scope_insufficient"
        )
    return tuple(scopes)


def sources_of(scope_map: ScopeMap) -> dict[str, list[str]]:
    """Return a scope map the other way round: scope of the target to those of the source, sorted."""
    index: dict[str, list[str]] = {}
    for source in sorted(scope_map):
        for target in scope_map[source]:
            index.setdefault(target, []).append(source)
    return index


def _or_refuse(scopes: Sequence[str]) -> tuple[str, ...]:
    if not scopes:
        raise InvalidScope(_NOTHING_LEFT, reason="default_scope_empty")
    return tuple(scopes)
