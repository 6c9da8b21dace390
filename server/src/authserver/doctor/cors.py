"""What a page in a browser may do: read the documents, call the MCP server, fetch tokens."""

from collections.abc import Iterator

from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer, Visitor

_UNAUTHORIZED = 401


def check_documents(visitor: Visitor, documents: frozenset[str]) -> Iterator[Finding]:
    """Find documents that a page cannot read."""
    for answer in visitor.visits:
        is_document = answer.method == "GET" and answer.url in documents and not answer.is_redirect
        if is_document and not visitor.lets_page_in(answer):
            yield finding("cors-documents", url=answer.url, seen=_allowed(answer))


async def examine_mcp(visitor: Visitor, url: str) -> None:
    """Ask whether a page may call the MCP server and read its challenge."""
    preflight = await visitor.preflight(url, headers="authorization,content-type,mcp-protocol-version")
    if preflight is None:
        return
    faults = [*check_preflight(visitor, preflight, header="authorization", code="cors-mcp")]
    if not faults:
        answer = await visitor.call(url, from_page=True)
        faults += check_exposed(visitor, answer) if answer else ()
    visitor.findings += faults


async def examine_endpoint(visitor: Visitor, url: str) -> None:
    """Ask whether a page may post to an endpoint of the authorization server."""
    preflight = await visitor.preflight(url, headers="content-type")
    if preflight is not None:
        visitor.findings += check_preflight(visitor, preflight, header="content-type", code="cors-endpoints")


def check_preflight(visitor: Visitor, answer: Answer, *, header: str, code: str) -> Iterator[Finding]:
    """Find that a preflight does not allow what was asked for."""
    allowed = {name.strip().lower() for name in answer.header("access-control-allow-headers").split(",")}
    # A * stands for every header but Authorization (Fetch, CORS-unsafe request headers).
    covers = header in allowed or ("*" in allowed and header != "authorization")
    if answer.status // 100 != 2 or not visitor.lets_page_in(answer):  # noqa: PLR2004  success
        yield finding(code, url=answer.url, seen=f"OPTIONS answers {answer.status}, {_allowed(answer)}")
    elif not covers:
        yield finding(code, url=answer.url, seen=f"OPTIONS does not allow the header {header}")


def check_exposed(visitor: Visitor, answer: Answer) -> Iterator[Finding]:
    """Find that a page sees the 401 and not what it says."""
    exposed = {name.strip().lower() for name in answer.header("access-control-expose-headers").split(",")}
    if not visitor.lets_page_in(answer):
        yield finding("cors-mcp", url=answer.url, seen=f"POST answers {answer.status}, {_allowed(answer)}")
    elif answer.status == _UNAUTHORIZED and exposed.isdisjoint({"www-authenticate", "*"}):
        yield finding("cors-expose", url=answer.url, seen=answer.header("access-control-expose-headers") or "nothing")


def _allowed(answer: Answer) -> str:
    return f"Access-Control-Allow-Origin: {answer.header('access-control-allow-origin') or 'missing'}"
