"""Client metadata (RFC 7591 §2): what a client says of itself, checked, as a record.

Two documents carry it: the body of a dynamic registration (public API, 11.2) and the metadata document that a client
identifier points to (CIMD; public API, 12.5).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from authserver.protocol.errors import InvalidRedirectUri, InvalidScope
from authserver.protocol.grant_types import (
    AUTHORIZATION_CODE,
    DEFAULT_GRANTS,
    DEVICE_CODE,
    REFRESH_TOKEN,
    USER_GRANTS,
)
from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import MAX_KEY_SET_BYTES, keep_public_keys
from authserver.protocol.metadata_members import MetadataMembers
from authserver.protocol.quoting import quoted
from authserver.protocol.redirect_uris import (
    MAX_DOCUMENT_REDIRECT_URIS,
    MAX_REDIRECT_URIS,
    check_redirect_uri,
    is_native,
)
from authserver.protocol.scopes import parse_scopes
from authserver.protocol.uris import parse_uri

NONE = "none"
PRIVATE_KEY_JWT = "private_key_jwt"
SHARED_SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post", "client_secret_jwt"})

_CODE = "code"
_MAX_NAME_BYTES = 255
_MAX_JWKS_URI_CHARACTERS = 2048
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMetadata:
    """What a client may be registered as.

    Attributes:
        client_name: Self-declared: text without control characters, to be escaped and isolated wherever it is shown.
        redirect_uris: As sent; empty only when no grant needs one.
        grant_types: Each known here and served, once, in the order sent.
        response_types: Always ``code``.
        token_endpoint_auth_method: One of those served.
        application_type: ``web`` or ``native``.
        jwks: JSON text of the client's key set, or None; at most 64 KiB, public keys only, one of them usable.
        jwks_uri: Where the client's key set is fetched, or None. With either and the method ``none``, the client may
            prove itself and need not (CM-08).
        agent_description: At most 255 bytes; empty when there is none.
    """

    redirect_uris: tuple[str, ...]
    client_name: str
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...]
    token_endpoint_auth_method: str
    application_type: str
    jwks: str | None
    jwks_uri: str | None
    dpop_bound_access_tokens: bool
    agent: bool = False
    agent_description: str = ""


def parse_registration(
    document: object,
    *,
    served_grants: Collection[str],
    served_auth_methods: Collection[str],
    enabling_variables: Mapping[str, str] = _NO_VARIABLES,
    max_redirect_uris: int = MAX_REDIRECT_URIS,
    is_operators: bool = False,
) -> ClientMetadata:
    """Return what the body of a registration asks for (public API, 11.2).

    Args:
        document: The parsed JSON.
        served_grants: The grant types this server serves now.
        served_auth_methods: The client authentication methods it serves.
        enabling_variables: Of grants that can be switched off, the variable that switches each on.
        max_redirect_uris: How many redirect URIs it may have.
        is_operators: Whether an operator asks, who is told every problem at once, those of redirect URIs and of the scope
            included (admin API, 3.2).

    Raises:
        InvalidRequest: The document is no object, or a member is of the wrong JSON type.
        InvalidRedirectUri: A client registers itself with a redirect URI that may not be; the first such one is named.
        InvalidClientMetadata: Anything else; the description lists all problems.
    """
    members = MetadataMembers(document)
    if is_operators:
        _check_scope(members)
    method = members.text("token_endpoint_auth_method") or NONE
    if method not in served_auth_methods:
        members.refuse(f"token_endpoint_auth_method {quoted(method)} is not supported")
    if members.text("application_type") not in {"", "web", "native"}:
        members.refuse("application_type must be web or native")
    grant_types = _read_grant_types(members, served_grants, enabling_variables)
    are_needed = method == PRIVATE_KEY_JWT
    jwks, jwks_uri = _read_keys(members, are_allowed=are_needed, are_needed=are_needed)
    metadata = ClientMetadata(
        client_name=_read_client_name(members),
        redirect_uris=_read_redirect_uris(
            members,
            are_required=_needs_redirects(grant_types),
            is_public=method == NONE,
            most=max_redirect_uris,
            are_told_together=is_operators,
        ),
        grant_types=grant_types,
        response_types=_read_response_types(members),
        token_endpoint_auth_method=method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        dpop_bound_access_tokens=members.flag("dpop_bound_access_tokens"),
        agent=members.flag("agent"),
        agent_description=members.plain_text("agent_description", max_bytes=_MAX_NAME_BYTES),
        application_type=members.text("application_type"),
    )
    members.raise_problems("client validation failed")
    return _with_application_type(metadata)


def parse_metadata_document(
    document: object,
    *,
    url: str,
    served_grants: Collection[str],
    served_auth_methods: Collection[str],
    held_grants: Collection[str] | None = None,
) -> ClientMetadata:
    """Return what a client ID metadata document says (public API, 12.5; CM-03 to CM-08, CM-18).

    Args:
        document: The parsed JSON.
        url: Where it was fetched: the client identifier.
        served_grants: The grant types this server serves now.
        served_auth_methods: The client authentication methods it serves; shared secrets never count.
        held_grants: When a stored client is refreshed: the grants it has. A grant beyond them that needs no user is
            ignored, as is every grant that is not served: the document is written once, for all servers.

    Raises:
        InvalidRequest: The document is no object, or a member is of the wrong JSON type.
        InvalidRedirectUri: A redirect URI may not be registered.
        InvalidClientMetadata: Anything else. All three descriptions are for the log.
    """
    members = MetadataMembers(document)
    if members.text("client_id") != url:
        members.refuse("client_id is not the URL of the document")
    for name in ("client_secret", "client_secret_expires_at"):
        if members.has(name):
            members.refuse(f"{name} must not be in a document that everybody can read")
    method, offered = _choose_method(members, served_auth_methods)
    # Whoever offers both proves itself or not, as it likes (CM-08); the document that offers keys need not have them.
    jwks, jwks_uri = _read_keys(members, are_allowed=PRIVATE_KEY_JWT in offered, are_needed=method == PRIVATE_KEY_JWT)
    if PRIVATE_KEY_JWT not in served_auth_methods:
        jwks = jwks_uri = None
    usable_grants = [
        name for name in served_grants if held_grants is None or name in held_grants or name in USER_GRANTS
    ]
    grant_types = _choose_grant_types(members, usable_grants)
    metadata = ClientMetadata(
        client_name=_read_client_name(members),
        redirect_uris=_read_redirect_uris(
            members,
            are_required=DEVICE_CODE not in grant_types or _needs_redirects(grant_types),
            is_public=method == NONE,
            most=MAX_DOCUMENT_REDIRECT_URIS,
        ),
        grant_types=grant_types,
        response_types=_choose_response_types(members),
        token_endpoint_auth_method=method,
        jwks=jwks,
        jwks_uri=jwks_uri,
        dpop_bound_access_tokens=members.flag("dpop_bound_access_tokens"),
        application_type=members.text("application_type"),
    )
    members.raise_problems("client metadata document refused")
    return _with_application_type(metadata)


def _read_client_name(members: MetadataMembers) -> str:
    name = members.plain_text("client_name", max_bytes=_MAX_NAME_BYTES)
    if not name.strip():
        members.refuse("client_name is required")
    return name


def _check_scope(members: MetadataMembers) -> None:
    try:
        parse_scopes(members.text("scope"))
    except InvalidScope as exc:
        members.refuse(exc.description)


def _read_redirect_uris(
    members: MetadataMembers, *, are_required: bool, is_public: bool, most: int, are_told_together: bool = False
) -> tuple[str, ...]:
    uris = members.texts("redirect_uris")
    if are_required and not uris:
        members.refuse("redirect_uris is required")
    if len(uris) > most:
        members.refuse(f"redirect_uris has more than {most} entries")
    for uri in uris[:most]:
        try:
            check_redirect_uri(uri, is_public=is_public)
        except InvalidRedirectUri as exc:
            if not are_told_together:
                raise
            members.refuse(exc.description)
    return uris


def _choose_grant_types(members: MetadataMembers, usable: Collection[str]) -> tuple[str, ...]:
    grant_types = tuple(name for name in members.names("grant_types") or DEFAULT_GRANTS if name in usable)
    if not grant_types:
        members.refuse("grant_types: none of them is served here")
    return grant_types


def _read_grant_types(
    members: MetadataMembers, served_grants: Collection[str], enabling_variables: Mapping[str, str]
) -> tuple[str, ...]:
    grant_types = members.names("grant_types") or DEFAULT_GRANTS
    for name in grant_types:
        if name in served_grants:
            continue
        if name in enabling_variables:
            members.refuse(f"grant_types: {quoted(name)} is disabled on this server ({enabling_variables[name]})")
        else:
            members.refuse(f"grant_types: {quoted(name)} is not supported")
    return grant_types


def _needs_redirects(grant_types: Collection[str]) -> bool:
    """Whether a user is sent back to a client with these grants; a device gets its refresh tokens without that."""
    return AUTHORIZATION_CODE in grant_types or (REFRESH_TOKEN in grant_types and DEVICE_CODE not in grant_types)


def _choose_response_types(members: MetadataMembers) -> tuple[str, ...]:
    """Return ``code``: what else a document names is for other servers, as with its grants."""
    if _CODE not in (members.names("response_types") or (_CODE,)):
        members.refuse("response_types: none of them is served here")
    return (_CODE,)


def _read_response_types(members: MetadataMembers) -> tuple[str, ...]:
    response_types = members.names("response_types") or (_CODE,)
    for name in response_types:
        if name != _CODE:
            members.refuse(f"response_types: {quoted(name)} is not supported")
    return response_types


def _read_keys(members: MetadataMembers, *, are_allowed: bool, are_needed: bool) -> tuple[str | None, str | None]:
    jwks, jwks_uri = members.json_object("jwks"), members.text("jwks_uri") or None
    if not are_allowed and (jwks or jwks_uri):
        members.refuse("jwks and jwks_uri are for private_key_jwt only")
    if (jwks and jwks_uri) or (are_needed and not (jwks or jwks_uri)):
        members.refuse("private_key_jwt needs exactly one of jwks and jwks_uri")
    if jwks and len(jwks.encode()) > MAX_KEY_SET_BYTES:
        members.refuse(f"jwks is longer than {MAX_KEY_SET_BYTES} bytes")
    elif jwks and are_allowed:
        try:
            jwks = keep_public_keys(jwks)
        except InvalidKey as exc:
            members.refuse(f"jwks cannot be used: {exc}")
    if jwks_uri and not _is_fetchable(jwks_uri):
        members.refuse("jwks_uri must be an https URL without fragment and user information")
    return jwks, jwks_uri


def _is_fetchable(url: str) -> bool:
    uri = parse_uri(url) if len(url) <= _MAX_JWKS_URI_CHARACTERS else None
    if uri is None or not uri.is_web:
        return False
    return uri.scheme == "https" and uri.userinfo is None and uri.fragment is None


def _choose_method(members: MetadataMembers, served: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """Return the method a document's client must authenticate with, and all that the document offers (CM-06 to CM-08).

    It is ``none`` whenever that is offered: whoever offers more may use more.
    """
    stated = members.text("token_endpoint_auth_method")
    choices = members.names("token_endpoint_auth_methods_supported")
    offered = (stated, *choices) if stated else choices or (NONE,)
    usable = [method for method in offered if method in served and method not in SHARED_SECRET_METHODS]
    if NONE in usable and stated not in SHARED_SECRET_METHODS:
        return NONE, offered
    if stated in usable:
        return stated, offered
    if stated or not usable:
        members.refuse(f"token_endpoint_auth_method {quoted(offered[0])} is not supported")
        return offered[0], offered
    return usable[0], offered


def _with_application_type(metadata: ClientMetadata) -> ClientMetadata:
    """Make the application type concrete.

    Clients omit or misstate it: one that redirects to this computer only is native, whatever it says (AS-23).
    """
    uris = metadata.redirect_uris
    only_native_uris = bool(uris) and all(is_native(uri) for uri in uris)
    is_a_native = metadata.application_type == "native" or only_native_uris
    return replace(metadata, application_type="native" if is_a_native else "web")
