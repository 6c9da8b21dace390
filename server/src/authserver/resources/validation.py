"""What a resource may look like: the rules that operators' input is held to."""

from collections import Counter
from collections.abc import Sequence

from authserver.protocol.errors import InvalidScope
from authserver.protocol.operator_errors import Invalid
from authserver.protocol.resource_indicators import is_slug
from authserver.protocol.scopes import parse_scopes
from authserver.protocol.uris import parse_uri
from authserver.resources.records import BackendKind, ResourcePolicy, ResourceScope


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
        Invalid: It is no absolute http(s) URI with a host, or has a fragment, so that no request could ever name it.
    """
    if not uri:
        return
    parsed = parse_uri(uri)
    if parsed is None or not parsed.is_web:
        raise Invalid("uri must be an absolute http or https URI with a host")
    if parsed.fragment is not None:
        raise Invalid("uri must not have a fragment")


def parse_backend_kind(text: str) -> BackendKind:
    """Return the kind that a text names.

    Raises:
        Invalid: It names none, or one that is not served yet.
    """
    if text not in set(BackendKind):
        raise Invalid("backend_kind must be mint or broker")
    if text == BackendKind.BROKER:
        raise Invalid("backend_kind broker needs the token vault, which this version does not have yet")
    return BackendKind(text)


def check_scopes(scopes: Sequence[ResourceScope]) -> None:
    """Check a catalogue.

    Raises:
        Invalid: A name is empty, given twice, or no scope token (RFC 6749 §3.3).
    """
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
        Invalid: One has an empty entry.
    """
    if not all((*policy.exchange_allowed_client_ids, *policy.runtime_client_ids, *policy.connect_allowed_return_urls)):
        raise Invalid("policy lists must not have empty entries")


def _is_scope(name: str) -> bool:
    try:
        return parse_scopes(name) == (name,)
    except InvalidScope:
        return False
