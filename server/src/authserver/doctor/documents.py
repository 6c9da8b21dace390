"""Documents that stand at one of several well-known URLs, and what can be wrong with any of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer, Visitor

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the URLs.

    Attributes:
        answer: None when nothing came, which is a finding already.
        document: The JSON object there, or None.
        fault: What is wrong when something is there but no document: the end of a code.
    """

    url: str
    answer: Answer | None
    document: dict[str, object] | None = None
    fault: str | None = None


def well_known(url: str, name: str) -> str:
    """Return the URL at which a document about ``url`` stands: the name between host and path (RFC 8414 §3, RFC 9728 §3)."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}{query}"


async def read_variant(visitor: Visitor, url: str) -> Variant:
    """Ask one of the URLs."""
    answer = await visitor.get(url)
    if answer is None:
        return Variant(url=url, answer=None)
    document = answer.document() if answer.status == 200 else None  # noqa: PLR2004  OK
    return Variant(url=url, answer=answer, document=document, fault=None if document is not None else _fault(answer))


def _fault(answer: Answer) -> str | None:
    """Return why an answer is no document; None when there is simply nothing."""
    match answer.status:
        case 200:
            return "not-json"
        case 401 | 403:
            return "refused"
        case status if status >= 500:  # noqa: PLR2004  server errors
            return "5xx"
        case _:
            return None


def check_broken(variants: Sequence[Variant], prefix: str) -> Iterator[Finding]:
    """Find that there is no document, and why; nothing when nobody answered."""
    if any(variant.answer is None for variant in variants):
        return
    for variant in variants:
        if variant.fault is not None and variant.answer is not None:
            seen = f"status {variant.answer.status}, {variant.answer.media_type or 'no content type'}"
            yield finding(f"{prefix}-{variant.fault}", url=variant.url, seen=seen)
            return
    tried = ", ".join(f"{variant.url} ({variant.answer.status})" for variant in variants if variant.answer)
    yield finding(f"{prefix}-missing", url=variants[0].url, seen=f"tried {tried}")


def check_content_type(variant: Variant, prefix: str) -> Iterator[Finding]:
    """Find that a document is sent as something else than JSON."""
    media_type = variant.answer.media_type if variant.answer else _JSON
    if media_type != _JSON and not media_type.endswith("+json"):
        seen = media_type or "no content type"
        yield finding(f"{prefix}-content-type", url=variant.url, seen=seen, expected=_JSON)


def texts(value: object) -> list[str]:
    """Return the texts of a list, or nothing when it is none."""
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
