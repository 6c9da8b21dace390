"""Where the browser may be sent after login."""

import re

# RFC 3986 path-absolute with query and fragment: after one slash comes a segment, so nothing can be read as an
# authority or a scheme, in the query neither. A backslash, which browsers take for a slash, is no URI character; nor
# are controls, blanks and anything outside ASCII.
_PATH_OF_THIS_ORIGIN = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")
# What is longer, this server would not read as a request's target.
_LONGEST = 32 * 1024


def safe_redirect(target: str | None) -> str | None:
    """Return ``target`` if it is an absolute path of this origin, query and all, else None (public API, 5.2)."""
    return target if target and len(target) <= _LONGEST and _PATH_OF_THIS_ORIGIN.fullmatch(target) else None
