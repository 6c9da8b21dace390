"""What an MCP server says about itself (RFC 9728)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from authserver.doctor.challenge import Challenge
from authserver.doctor.documents import Variant, check_broken, check_content_type, read_variant, texts, well_known
from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Visitor, origin_of
from authserver.protocol.resource_indicators import fold_resource
from authserver.protocol.uris import parse_uri

NAME = "oauth-protected-resource"
_MOST_SERVERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedResource:
    """What the metadata says that is of use.

    Attributes:
        resource: What a token must be for.
        servers: The issuers it names, those that can be asked.
        url: Where the document is.
    """

    resource: str | None
    servers: tuple[str, ...]
    url: str


async def examine_resource(visitor: Visitor, url: str, challenge: Challenge) -> ProtectedResource | None:
    """Read the metadata where clients look for it; None when there is none."""
    path_form = await read_variant(visitor, well_known(url, NAME))
    named = path_form
    if challenge.metadata_url not in {None, path_form.url}:
        named = await read_variant(visitor, str(challenge.metadata_url))
    variants = [named] if named is path_form else [named, path_form]
    if all(variant.document is None for variant in variants) and urlsplit(url).path.strip("/"):
        variants.append(await read_variant(visitor, well_known(origin_of(url), NAME)))
    used = next((variant for variant in variants if variant.document is not None), None)
    if used is None or used.document is None:
        visitor.findings += check_broken(variants, "prm")
        return None
    visitor.findings += [*_check_variants(named, path_form, used), *check_document(used.document, used, url)]
    return ProtectedResource(
        resource=_text(used.document, "resource"),
        servers=tuple(server for server in texts(used.document.get("authorization_servers")) if _is_issuer(server))[
            :_MOST_SERVERS
        ],
        url=used.url,
    )


def _check_variants(named: Variant, path_form: Variant, used: Variant) -> Iterator[Finding]:
    """Find that the document is not at each URL where clients look, or not the same one."""
    yield from check_content_type(used, "prm")
    if used is not named:
        if named is not path_form and named.answer is not None:
            yield finding("challenge-metadata-dead", url=named.url, seen=f"status {named.answer.status}")
        if used is path_form:
            return
    if path_form.document is None:
        status = path_form.answer.status if path_form.answer else "nothing"
        yield finding("prm-path-missing", url=path_form.url, seen=f"status {status}; found at {used.url}")
    elif path_form.document != used.document:
        yield finding("prm-variants-differ", url=path_form.url, seen=f"not the document of {used.url}")


def check_document(document: Mapping[str, object], used: Variant, url: str) -> Iterator[Finding]:
    """Find what is wrong with the document of an MCP server."""
    yield from check_resource(_text(document, "resource"), used.url, url)
    servers = texts(document.get("authorization_servers"))
    if not servers:
        yield finding("prm-no-servers", url=used.url, seen="authorization_servers is missing or empty")
    for server in servers:
        if not _is_issuer(server):
            yield finding("prm-server-invalid", url=used.url, seen=server)
    excessive = [
        scope for scope in texts(document.get("scopes_supported")) if scope == "offline_access" or "*" in scope
    ]
    if excessive:
        yield finding("prm-scopes", url=used.url, seen=" ".join(excessive))


def check_resource(resource: str | None, where: str, url: str) -> Iterator[Finding]:
    """Find how the published resource differs from the URL that clients use."""
    if resource is None:
        yield finding("resource-missing", url=where, seen="no resource", expected=url)
        return
    if resource == url:
        return
    name = "resource-path"
    if resource.rstrip("/") == url.rstrip("/"):
        is_root = resource.rstrip("/") == origin_of(url) and resource.removesuffix("/") == url.removesuffix("/")
        name = "resource-root-slash" if is_root else "resource-slash"
    elif fold_resource(resource.rstrip("/")) == fold_resource(url.rstrip("/")):
        name = "resource-case"
    elif origin_of(resource) != origin_of(url):
        name = "resource-origin"
    yield finding(name, url=where, seen=resource, expected=url)


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _is_issuer(server: str) -> bool:
    parts = parse_uri(server)
    return parts is not None and parts.is_web and parts.query is None and parts.fragment is None
