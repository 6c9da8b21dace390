"""What an issuer may look like, and which issuers are a developer's own machine."""

import re
from urllib.parse import urlsplit

# The whole URL is matched, so that neither localhost.example.org nor localhost:x@example.org passes.
_LOCALHOST = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?(?:/.*)?")
_PLAIN = re.compile(r"[\x21-\x7e]+")


def is_localhost_issuer(issuer: str) -> bool:
    """Tell a developer's issuer from a production one, which every stricter rule applies to."""
    return _LOCALHOST.fullmatch(issuer) is not None


def issuer_fault(issuer: str) -> str | None:
    """Return what is wrong with an issuer, or None (RFC 8414 §2; ruling R15)."""
    if not is_absolute_url(issuer):
        return "must be an absolute http or https URL with a host"
    if "?" in issuer or "#" in issuer:
        return "must have no query and no fragment"
    if issuer.endswith("/"):
        return "must not end with a slash"
    if "@" in urlsplit(issuer).netloc:
        return "must not name a user"
    return None


def is_absolute_url(url: str) -> bool:
    """Whether it is an ``http`` or ``https`` URL with a host and, if any, a possible port."""
    try:
        parts = urlsplit(url)
        return bool(_PLAIN.fullmatch(url) and parts.scheme in {"http", "https"} and parts.hostname) and parts.port != 0
    except ValueError:
        return False
