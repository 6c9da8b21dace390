"""Consent: when a remembered one is enough, what the page shows, and what a new one leaves behind."""

from collections.abc import Collection

from authserver.authorization.records import ActiveConsent, AuthorizationRequest
from authserver.protocol.redirect_uris import is_loopback, match_redirect_uri

_MAX_REDIRECT_URIS = 10


def is_covered(request: AuthorizationRequest, grant: ActiveConsent | None, *, cross_site: bool) -> bool:
    """Whether the user need not be asked again (public API §4.2, step 12; ruling R27).

    Args:
        request: What is asked for.
        grant: The active consent for the same user, client and Resource, if there is one.
        cross_site: The browser says that another site sent it here.
    """
    if grant is None or not set(request.scopes) <= set(grant.scopes):
        return False
    if match_redirect_uri(request.redirect_uri, grant.redirect_uris) is None:
        return False
    # A hostile site could otherwise drive the browser through a silent approval to whatever program listens (X2).
    return not (cross_site and is_loopback(request.redirect_uri))


def merge_scopes(shown: Collection[str], approved: Collection[str], granted: Collection[str]) -> tuple[str, ...]:
    """Return the scopes of a consent given again: approved ones are added, shown and unticked ones go, others stay."""
    kept = [scope for scope in granted if scope not in shown or scope in approved]
    return (*kept, *(scope for scope in approved if scope not in kept))


def merge_redirects(approved: str, granted: Collection[str]) -> tuple[str, ...]:
    """Return the redirect URIs of a consent given again, the newest last and no more than a consent keeps."""
    if match_redirect_uri(approved, granted) is not None:
        return tuple(granted)
    return (*granted, approved)[-_MAX_REDIRECT_URIS:]
