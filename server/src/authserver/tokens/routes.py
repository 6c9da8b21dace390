"""The three endpoints that clients and resource servers post forms to."""

from collections.abc import Callable

import orjson

from authserver.tokens.endpoint import TokenEndpoint
from authserver.tokens.introspection import IntrospectionEndpoint
from authserver.tokens.responses import build_token_response
from authserver.tokens.revocation import RevocationEndpoint
from authserver.web.forms import read_form
from authserver.web.http import JSON, NO_STORE, Cors, ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.spelling import constant_headers

_TOKEN_HEADERS = constant_headers(JSON, NO_STORE, (b"pragma", b"no-cache"))
_INTROSPECTION_HEADERS = constant_headers(JSON, NO_STORE)
_REVOCATION_HEADERS = constant_headers(NO_STORE)


def token_routes(
    token_endpoint: TokenEndpoint,
    introspection: IntrospectionEndpoint,
    revocation: RevocationEndpoint,
    *,
    clock: Callable[[], int],
    root_aliases: bool,
) -> list[Route]:
    """Mount the token, introspection and revocation endpoints.

    Args:
        token_endpoint: Serves ``/oauth/token``.
        introspection: Serves ``/oauth/introspect``.
        revocation: Serves ``/oauth/revoke``.
        clock: Seconds since the epoch.
        root_aliases: Whether ``/token`` answers, too, for clients that ignore the metadata (ruling R43).
    """

    async def token(request: HttpRequest) -> HttpResponse:
        now = clock()
        proofs = tuple(request.header_values(b"dpop"))
        if proofs and (nonce := token_endpoint.proofs.fresh_nonce(now)) is not None:
            request.answer_headers = ((b"dpop-nonce", nonce.encode("ascii")),)
        form = await read_form(request)
        response = await token_endpoint.handle(
            form,
            authorization=request.header(b"authorization"),
            proofs=proofs,
            host=request.header(b"host") or "",
            now=now,
        )
        return HttpResponse(200, build_token_response(response), _TOKEN_HEADERS)

    async def introspect(request: HttpRequest) -> HttpResponse:
        form = await read_form(request)
        authorization = request.header(b"authorization")
        members = await introspection.handle(form, authorization=authorization, now=clock())
        return HttpResponse(200, orjson.dumps(members), _INTROSPECTION_HEADERS)

    async def revoke(request: HttpRequest) -> HttpResponse:
        form = await read_form(request)
        await revocation.handle(form, authorization=request.header(b"authorization"), now=clock())
        return HttpResponse(200, b"", _REVOCATION_HEADERS)

    token_paths = ("/oauth/token", "/token") if root_aliases else ("/oauth/token",)
    return [
        *(
            Route(path=path, endpoints={"POST": token}, cors=Cors.LISTED, errors=ErrorShape.OAUTH)
            for path in token_paths
        ),
        Route(
            path="/oauth/introspect",
            endpoints={"POST": introspect},
            errors=ErrorShape.OAUTH,
            operations={"POST": "IntrospectionService.Introspect"},
        ),
        Route(
            path="/oauth/revoke",
            endpoints={"POST": revoke},
            cors=Cors.LISTED,
            errors=ErrorShape.OAUTH,
            operations={"POST": "RevocationService.Revoke"},
        ),
    ]
