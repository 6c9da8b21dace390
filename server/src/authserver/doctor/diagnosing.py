"""The walk from a URL to a token, layer by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from authserver.doctor import clock as clocks
from authserver.doctor import cors
from authserver.doctor.challenge import (
    Challenge,
    check_challenge,
    check_forgery,
    check_refusal,
    is_mcp_answer,
    read_challenge,
)
from authserver.doctor.codes import Layer
from authserver.doctor.documents import Variant, read_variant, well_known
from authserver.doctor.findings import Finding, finding
from authserver.doctor.keys import examine_keys
from authserver.doctor.protected_resource import NAME, ProtectedResource, examine_resource
from authserver.doctor.server_metadata import ServerMetadata, examine_server, is_server_document, read_spellings
from authserver.doctor.token import Demands, check_reception, check_token, forge_token, is_bound
from authserver.doctor.visiting import Answer, Visitor, is_plain
from authserver.outbound.client import OutboundClient
from authserver.protocol.jwk import KeySet, VerificationKey

INSPECTOR = "http://localhost:6274"
_NOTHING = frozenset({404, 405, 410})
_UNAUTHORIZED, _SERVER_ERRORS = 401, 500
_FORGERIES = {"ES256": "a made-up signature", "none": "no signature (alg none)"}


class Kind(StrEnum):
    """What a URL leads to."""

    MCP = "mcp"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the walk found.

    Attributes:
        kind: None when the URL is neither.
        reached: The layers that were examined, in their order.
        findings: In the order of their layers.
        visits: Every answer, in the order of the questions.
    """

    url: str
    kind: Kind | None
    reached: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    visits: tuple[Answer, ...]


async def diagnose(
    url: str,
    *,
    http: OutboundClient,
    clock: Callable[[], int],
    token: str | None = None,
    kind: Kind | None = None,
    timeout: float = 5,  # noqa: ASYNC109  of each answer, not of the walk
    page: str = INSPECTOR,
) -> Diagnosis:
    """Examine an MCP server or an issuer.

    Args:
        url: As clients are given it.
        http: What the servers are asked with.
        clock: The time of this machine.
        token: An access token; shown to the MCP server at ``url`` and nobody else, and not over plain http.
        kind: What the URL leads to; None finds out.
        timeout: Seconds for each answer.
        page: The origin of the page in a browser that should be let in.
    """
    return await _Walk(Visitor(http, clock=clock, timeout=timeout, page=page), url, token).walk(kind)


class _Walk:
    def __init__(self, visitor: Visitor, url: str, token: str | None) -> None:
        self._visitor = visitor
        self._url = url
        self._token = token
        self._reached = {Layer.CONNECTION}
        self._documents: set[str] = set()

    async def walk(self, kind: Kind | None) -> Diagnosis:
        first = await self._visitor.call(self._url) if kind is not Kind.ISSUER else None
        spellings: Sequence[Variant] = ()
        if kind is Kind.ISSUER or (kind is None and first is not None and not is_mcp_answer(first)):
            spellings = await read_spellings(self._visitor, self._url)
        if kind is None and first is not None:
            kind = await self._recognise(first, spellings)
        if kind is Kind.ISSUER:
            await self._examine_issuer(spellings)
        elif kind is Kind.MCP and first is not None:
            await self._examine_mcp(first)
        self._visitor.findings += clocks.check_clocks(self._visitor.visits)
        self._reached |= {Layer.CLOCK} if clocks.skews(self._visitor.visits) else set()
        layers = tuple(Layer)
        return Diagnosis(
            url=self._url,
            kind=kind,
            reached=tuple(layer for layer in layers if layer in self._reached),
            findings=tuple(sorted(self._visitor.findings, key=lambda found: layers.index(found.code.layer))),
            visits=tuple(self._visitor.visits),
        )

    async def _recognise(self, first: Answer, spellings: Sequence[Variant]) -> Kind | None:
        """Tell what a URL leads to by what stands around it; the first answer is no proof when it is a fault."""
        if is_mcp_answer(first):
            return Kind.MCP
        if any(map(is_server_document, spellings)):
            return Kind.ISSUER
        if (await read_variant(self._visitor, well_known(self._url, NAME))).document is not None:
            return Kind.MCP
        if first.status not in _NOTHING and first.status // 100 != 2:  # noqa: PLR2004  success
            return Kind.MCP
        if any(variant.fault is not None or variant.answer is None for variant in spellings):
            return Kind.ISSUER
        self._visitor.findings.append(finding("nothing-here", url=self._url, seen=f"status {first.status}"))
        self._reached.add(Layer.CHALLENGE)
        return None

    async def _examine_mcp(self, first: Answer) -> None:
        self._reached |= {Layer.CHALLENGE, Layer.RESOURCE}
        refusal = [*check_refusal(first)]
        self._visitor.findings += refusal
        if not refusal:
            self._visitor.findings += check_challenge(first)
        elif first.is_redirect or first.status >= _SERVER_ERRORS:
            return
        challenge = read_challenge(first)
        resource = await examine_resource(self._visitor, self._url, challenge)
        issuers, keys = await self._examine_servers(resource)
        demands = self._demands(issuers, keys, challenge=challenge, resource=resource)
        await self._examine_token(demands)
        if first.status == _UNAUTHORIZED:
            await self._forge(demands)
            self._reached.add(Layer.CORS)
            await cors.examine_mcp(self._visitor, self._url)
        self._check_documents()

    async def _examine_servers(self, resource: ProtectedResource | None) -> tuple[frozenset[str], KeySet | None]:
        if resource is None:
            return frozenset(), None
        self._documents.add(resource.url)
        issuers: set[str] = set()
        keys: list[VerificationKey] = []
        is_verifiable = True
        for issuer in resource.servers:
            server, found = await self._examine_server(issuer, await read_spellings(self._visitor, issuer))
            issuers |= {issuer} | ({server.issuer} if server and server.issuer else set())
            keys += found.keys if found else []
            is_verifiable = is_verifiable and found is not None
        # What another server's keys might have signed is not said to be signed by nobody.
        return frozenset(issuers), KeySet(keys=tuple(keys)) if keys and is_verifiable else None

    async def _examine_server(
        self, issuer: str, spellings: Sequence[Variant]
    ) -> tuple[ServerMetadata | None, KeySet | None]:
        self._reached.add(Layer.SERVER)
        server = examine_server(self._visitor, issuer, spellings)
        if server is None:
            return None, None
        self._documents.update(server.documents)
        keys = None
        if server.jwks_uri is not None and not is_plain(server.jwks_uri):
            self._reached.add(Layer.KEYS)
            self._documents.add(server.jwks_uri)
            keys = await examine_keys(self._visitor, server.jwks_uri)
        for endpoint in (server.token_endpoint, server.registration_endpoint):
            if endpoint is not None and not is_plain(endpoint):
                self._reached.add(Layer.CORS)
                await cors.examine_endpoint(self._visitor, endpoint)
        return server, keys

    async def _examine_issuer(self, spellings: Sequence[Variant]) -> None:
        server, keys = await self._examine_server(self._url, spellings)
        issuers = frozenset({server.issuer} if server and server.issuer else ())
        if self._token is not None:
            self._reached.add(Layer.TOKEN)
            self._visitor.findings += check_token(self._token, self._demands(issuers, keys))
        self._check_documents()

    def _demands(
        self,
        issuers: frozenset[str],
        keys: KeySet | None,
        *,
        challenge: Challenge | None = None,
        resource: ProtectedResource | None = None,
    ) -> Demands:
        now = self._visitor.clock()
        return Demands(
            issuers=issuers,
            audience=resource.resource if resource else None,
            scopes=challenge.scopes if challenge else frozenset(),
            keys=keys,
            times=(now, *(now + skew for skew in clocks.skews(self._visitor.visits).values())),
        )

    async def _examine_token(self, demands: Demands) -> None:
        if self._token is None:
            return
        self._reached.add(Layer.TOKEN)
        found = [*check_token(self._token, demands)]
        self._visitor.findings += found
        if is_plain(self._url) or is_bound(self._token):
            return
        answer = await self._visitor.call(self._url, token=self._token)
        if answer is not None:
            self._visitor.findings += check_reception(answer, found)

    async def _forge(self, demands: Demands) -> None:
        """Show the server tokens that nobody issued; the first that it does not refuse is enough."""
        for alg, what in _FORGERIES.items():
            answer = await self._visitor.call(self._url, token=forge_token(demands, alg=alg))
            found = [*check_forgery(answer, what)] if answer is not None else []
            self._visitor.findings += found
            if found:
                return

    def _check_documents(self) -> None:
        self._visitor.findings += cors.check_documents(self._visitor, frozenset(self._documents))
