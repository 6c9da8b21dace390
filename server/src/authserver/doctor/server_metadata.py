"""What an authorization server says about itself (RFC 8414, OpenID Connect Discovery 1.0)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from authserver.doctor.documents import Variant, check_broken, check_content_type, read_variant, texts, well_known
from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Visitor, is_plain, origin_of
from authserver.protocol.uris import parse_uri

_OAUTH, _OPENID = "oauth-authorization-server", "openid-configuration"
_ENDPOINTS = ("authorization_endpoint", "token_endpoint")
_ANNOUNCED = (*_ENDPOINTS, "registration_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMetadata:
    """What the metadata says that is of use.

    Attributes:
        issuer: As the document spells it.
        documents: Where documents were found.
    """

    issuer: str | None
    jwks_uri: str | None
    token_endpoint: str | None
    registration_endpoint: str | None
    documents: tuple[str, ...] = field(default=())


def spellings(issuer: str) -> list[str]:
    """Return the URLs of an issuer's metadata in the order in which clients try them."""
    urls = [well_known(issuer, _OAUTH), well_known(issuer, _OPENID)]
    if urlsplit(issuer).path.strip("/"):
        urls.append(f"{issuer.rstrip('/')}/.well-known/{_OPENID}")
    return urls


async def read_spellings(visitor: Visitor, issuer: str) -> list[Variant]:
    """Read the metadata at each URL where clients look."""
    return [await read_variant(visitor, url) for url in spellings(issuer)]


def is_server_document(variant: Variant) -> bool:
    """Tell whether a document is that of an authorization server."""
    return variant.document is not None and not {"issuer", "token_endpoint"}.isdisjoint(variant.document)


def examine_server(visitor: Visitor, issuer: str, variants: Sequence[Variant]) -> ServerMetadata | None:
    """Find what is wrong with what was read; None when there is no document."""
    found = [variant for variant in variants if variant.document is not None]
    if not found:
        visitor.findings += check_broken(variants, "metadata")
        return None
    document = found[0].document or {}
    visitor.findings += check_spellings(variants)
    visitor.findings += check_content_type(found[0], "metadata")
    visitor.findings += check_issuer(document, found[0].url, issuer)
    visitor.findings += check_abilities(document, found[0].url)
    visitor.findings += check_endpoints(document, found[0].url, issuer)
    return ServerMetadata(
        issuer=_text(document, "issuer"),
        jwks_uri=_url(document, "jwks_uri"),
        token_endpoint=_url(document, "token_endpoint"),
        registration_endpoint=_url(document, "registration_endpoint"),
        documents=tuple(variant.url for variant in found),
    )


def check_spellings(variants: Sequence[Variant]) -> Iterator[Finding]:
    """Find that some clients do not find the metadata, or find other metadata."""
    if any(variant.answer is None for variant in variants):
        return
    by_name = {
        name: [variant for variant in variants if variant.document is not None and name in variant.url]
        for name in (_OAUTH, _OPENID)
    }
    for name, found in by_name.items():
        if not found:
            missing = next(variant for variant in variants if name in variant.url)
            status = missing.answer.status if missing.answer else "nothing"
            yield finding("metadata-one-spelling", url=missing.url, seen=f"status {status}")
    first, *others = (variant for variant in variants if variant.document is not None)
    for other in others:
        differing = [name for name in ("issuer", *_ANNOUNCED) if _differs(first, other, name)]
        if differing:
            yield finding("metadata-variants-differ", url=other.url, seen=f"{', '.join(differing)} unlike {first.url}")
            return


def _differs(one: Variant, other: Variant, name: str) -> bool:
    return (one.document or {}).get(name) != (other.document or {}).get(name)


def check_issuer(document: Mapping[str, object], where: str, issuer: str) -> Iterator[Finding]:
    """Find that the issuer is not the one that led to the document, byte for byte."""
    named = _text(document, "issuer")
    if named is None:
        yield finding("issuer-missing", url=where, seen="no issuer", expected=issuer)
    elif named != issuer:
        code = "issuer-slash" if named.rstrip("/") == issuer.rstrip("/") else "issuer-mismatch"
        yield finding(code, url=where, seen=named, expected=issuer)


def check_abilities(document: Mapping[str, object], where: str) -> Iterator[Finding]:
    """Find that the server lacks what MCP clients insist on."""
    methods = document.get("code_challenge_methods_supported")
    if methods is None:
        yield finding("pkce-missing", url=where, seen="no code_challenge_methods_supported", expected='["S256"]')
    elif "S256" not in texts(methods):
        yield finding("pkce-no-s256", url=where, seen=" ".join(texts(methods)) or "an empty list", expected="S256")
    if not document.get("registration_endpoint") and not document.get("client_id_metadata_document_supported"):
        yield finding("registration-impossible", url=where, seen="neither is announced")


def check_endpoints(document: Mapping[str, object], where: str, issuer: str) -> Iterator[Finding]:
    """Find endpoints that are missing, unencrypted or somebody else's."""
    for name in _ENDPOINTS:
        if _url(document, name) is None:
            yield finding("endpoint-missing", url=where, seen=f"{name}: {document.get(name, 'missing')}")
    if "jwks_uri" not in document and "introspection_endpoint" not in document:
        yield finding("jwks-not-announced", url=where, seen="neither is announced")
    for name in _ANNOUNCED:
        url = _url(document, name)
        if url is None:
            continue
        if is_plain(url):
            yield finding("endpoint-http", url=where, seen=f"{name}: {url}", expected="https")
        elif origin_of(url) != origin_of(issuer):
            yield finding("endpoint-origin", url=where, seen=f"{name}: {url}", expected=f"a URL of {origin_of(issuer)}")


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _url(document: Mapping[str, object], name: str) -> str | None:
    value = _text(document, name)
    parts = parse_uri(value) if value else None
    return value if parts is not None and parts.is_web else None
