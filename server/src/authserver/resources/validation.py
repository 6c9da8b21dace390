"""What a resource may look like: the rules that operators' input is held to."""

from collections import Counter
from collections.abc import Sequence

from authserver.protocol.errors import InvalidScope
from authserver.protocol.operator_errors import Invalid
from authserver.protocol.resource_indicators import is_slug
from authserver.protocol.scopes import parse_scopes
from authserver.protocol.uris import parse_uri
from authserver.resources.records import BackendKind, ResourcePolicy, ResourceScope

MAX_ENTRIES = 1000
"""Of a catalogue, and of each list of a policy: all of them are in the memory of every process."""
_MAX_URI_CHARACTERS = 2048
_MAX_NAME_BYTES = 255
_MAX_TEXT_BYTES = 1024


def check_display_name(name: str) -> None:
    """Check what people are shown of a resource.

    Raises:
        Invalid: It is too long.
    """
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise Invalid(f"display_name must be at most {_MAX_NAME_BYTES} bytes")


def check_slug(slug: str) -> None:
    """Check a slug that is in lower case already.

    Raises:
        Invalid: It is none.
    """
    if not is_slug(slug):
        raise Invalid("slug must match ^[a-z0-9][a-z0-9-]{0,63}$")


def check_uri(uri: str) -> None:
    """Check a resource's URI, which may be empty.

    Raises:
        Invalid: It is no absolute http(s) URI with a host, or has a fragment or a length that no request could ever name.
    """
    if not uri:
        return
    if len(uri) > _MAX_URI_CHARACTERS:
        raise Invalid(f"uri must be at most {_MAX_URI_CHARACTERS} characters")
    parsed = parse_uri(uri)
    if parsed is None or not parsed.is_web:
        raise Invalid("uri must be an absolute http or https URI with a host")
    if parsed.fragment is not None:
        raise Invalid("uri must not have a fragment")


def parse_backend_kind(text: str) -> BackendKind:
    """Return the kind that a text names.

    Raises:
        Invalid: It names none.
    """
    if text not in set(BackendKind):
        raise Invalid("backend_kind must be mint or broker")
    return BackendKind(text)


def check_scopes(scopes: Sequence[ResourceScope]) -> None:
    """Check a catalogue.

    Raises:
        Invalid: There are too many; a name is empty, given twice, or no scope token (RFC 6749 §3.3); a text is too long.
    """
    if len(scopes) > MAX_ENTRIES:
        raise Invalid(f"a resource may have {MAX_ENTRIES} scopes at most")
    for scope in scopes:
        if len(scope.name) > _MAX_NAME_BYTES:
            raise Invalid(f"scope name must be at most {_MAX_NAME_BYTES} characters")
        if max(len(scope.description.encode()), len(scope.upstream.encode())) > _MAX_TEXT_BYTES:
            raise Invalid(f"description and upstream of a scope must be at most {_MAX_TEXT_BYTES} bytes")
    for name, times in Counter(scope.name for scope in scopes).items():
        if not name:
            raise Invalid("scope name must not be empty")
        if times > 1:
            raise Invalid(f'scope "{name}" is given twice')
        if not _is_scope(name):
            raise Invalid("scope name must be printable ASCII without blanks, quotation marks and backslashes")


def check_policy(policy: ResourcePolicy) -> None:
    """Check the lists of a policy.

    Raises:
        Invalid: One is too long or has an empty entry.
    """
    for entries in (policy.exchange_allowed_client_ids, policy.runtime_client_ids, policy.connect_allowed_return_urls):
        if len(entries) > MAX_ENTRIES:
            raise Invalid(f"a policy list may have {MAX_ENTRIES} entries at most")
        if not all(entries):
            raise Invalid("policy lists must not have empty entries")


def _is_scope(name: str) -> bool:
    try:
        return parse_scopes(name) == (name,)
    except InvalidScope:
        return False
