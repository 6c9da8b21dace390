"""An authorization request, checked as far as it can be without a user (public API §4.2, steps 4 to 9)."""

from dataclasses import dataclass

from authserver.authorization.records import AuthorizationRequest
from authserver.clients.records import Client
from authserver.protocol.errors import (
    InvalidRequest,
    InvalidTarget,
    RequestNotSupported,
    RequestUriNotSupported,
    ServerError,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from authserver.protocol.grant_types import DEVICE_CODE
from authserver.protocol.pkce import check_code_challenge
from authserver.protocol.quoting import quoted
from authserver.protocol.resource_indicators import one_resource
from authserver.protocol.scopes import choose_authorization_scopes
from authserver.resources.catalog import ResourceCatalog
from authserver.resources.records import BackendKind, Resource
from authserver.telemetry.logs import get_logger
from authserver.telemetry.notes import note
from authserver.web.forms import Form

_log = get_logger("authorization")

_REPEATABLE = frozenset({"resource"})
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_THUMBPRINT_CHARACTERS = 43
_WARNED_CLIENTS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """What the operator set about authorization requests (configuration.md §3.9)."""

    require_scope: bool
    default_resource: str
    dpop_enabled: bool


class RequestChecker:
    """Turns the parameters of a known client with a trusted redirect URI into a request, or refuses them."""

    def __init__(self, catalog: ResourceCatalog, rules: RequestRules) -> None:
        self._catalog = catalog
        self._rules = rules
        # Clients already warned of: one line each and process, and no more clients than this.
        self._warned: set[str] = set()

    async def check(self, form: Form, *, client: Client, redirect_uri: str) -> AuthorizationRequest:
        """Check steps 4 to 9 in their order.

        Raises:
            OAuthError: A check fails; the refusal goes to the redirect URI.
        """
        check_no_repeats(form)  # 4
        form.check_readable()
        form.check_lengths()
        _check_response_type(form)  # 5
        note("client's grants looked at", grant_type="authorization_code", grant_types=client.grant_types)
        if not client.has_grant("authorization_code"):  # 6
            raise UnauthorizedClient("client is not authorized for this grant type", reason="grant_not_registered")
        code_challenge, challenge_method = form.get("code_challenge"), form.get("code_challenge_method")  # 7
        note("PKCE looked at", method=challenge_method, found="a challenge" if code_challenge else "no challenge")
        check_code_challenge(code_challenge, method=challenge_method)
        resource = await self._find_resource(form)  # 8
        scopes = await self._choose_scopes(form, client, resource)  # 9
        return AuthorizationRequest(
            client_id=client.id,
            redirect_uri=redirect_uri,
            scopes=scopes,
            resource_id=resource.id if resource else None,
            resource=(resource.uri or None) if resource else None,
            state=form.get("state") or "",
            code_challenge=code_challenge or "",
            dpop_jkt=_dpop_jkt(form) if self._rules.dpop_enabled else None,
        )

    async def check_device(self, form: Form, *, client: Client) -> AuthorizationRequest:
        """Check what a device asks for (RFC 8628 §3.1), by the rules of an authorization request that apply to it.

        Raises:
            OAuthError: A check fails.
        """
        note("client's grants looked at", grant_type=DEVICE_CODE, grant_types=client.grant_types)
        if not client.has_grant(DEVICE_CODE):
            raise UnauthorizedClient(
                f"client is not authorized for this grant type: the client is not registered for {DEVICE_CODE}",
                reason="grant_not_registered",
            )
        resource = await self._find_resource(form)
        scopes = await self._choose_scopes(form, client, resource)
        return AuthorizationRequest(
            client_id=client.id,
            redirect_uri="",
            scopes=scopes,
            resource_id=resource.id if resource else None,
            resource=(resource.uri or None) if resource else None,
            state="",
            code_challenge="",
            dpop_jkt=_dpop_jkt(form) if self._rules.dpop_enabled else None,
        )

    async def _find_resource(self, form: Form) -> Resource | None:
        values = form.values("resource")
        note("resource asked for", requested=values)
        value = one_resource(values)
        if value is None:
            return await self._find_default()
        resource = await self._catalog.resolve(value)
        note("resource found", matched=resource.slug, source=resource.backend_kind)
        if resource.backend_kind is not BackendKind.MINT:
            raise InvalidTarget(f"resource {quoted(value)} cannot be authorized directly", reason="broker_resource")
        return resource

    async def _find_default(self) -> Resource | None:
        """Return what ``oauth.default_resource`` names (ruling R1); a name of nothing is the operator's fault (R38)."""
        slug = self._rules.default_resource
        note("default resource taken", setting=f"oauth.default_resource={slug}")
        if not slug:
            return None
        for resource in await self._catalog.matches(slug):
            if resource.slug == slug and resource.backend_kind is BackendKind.MINT:
                return resource
        _log.error("oauth.default_resource names no Mint resource", slug=slug)
        raise ServerError(reason="default_resource_missing")

    async def _choose_scopes(self, form: Form, client: Client, resource: Resource | None) -> tuple[str, ...]:
        requested = form.get("scope")
        if requested is None:
            _log.warning("authorization request without scope", client_id=client.id)
        self._warn_of_no_ceiling(client)
        catalog = resource.scope_names if resource else await self._catalog.scope_names()
        note("scope compared", requested=requested, catalog=catalog, ceiling=client.scope)
        scopes = choose_authorization_scopes(
            requested,
            catalog=catalog,
            ceiling=client.scopes,
            require_scope=self._rules.require_scope,
            resource_named=resource is not None,
        )
        note("scope chosen", result=scopes)
        return scopes

    def _warn_of_no_ceiling(self, client: Client) -> None:
        """Say once for each client that nothing bounds its scopes: from 0.3.0 on it will be refused (public API §9.3)."""
        if client.scopes or client.id in self._warned or len(self._warned) >= _WARNED_CLIENTS:
            return
        self._warned.add(client.id)
        _log.warning("client has no scope ceiling: its requests are not bounded", client_id=client.id)


def check_no_repeats(form: Form) -> None:
    """Check that no parameter but ``resource`` is given twice (RFC 6749 §3.1).

    Raises:
        InvalidRequest: One is.
    """
    for name in form.repeated():
        if name not in _REPEATABLE:
            raise InvalidRequest(f"{quoted(name)} is given more than once", reason="parameter_repeated")


def parse_prompt(form: Form) -> frozenset[str]:
    """Return the words of ``prompt`` that mean something here (OpenID Connect Core §3.1.2.1); others are ignored.

    Raises:
        InvalidRequest: ``none`` does not stand alone.
    """
    prompt = form.get("prompt")
    if prompt is None:
        return frozenset()
    words = frozenset(prompt.split())
    if "none" in words and len(words) > 1:
        raise InvalidRequest("prompt: none stands alone", reason="prompt_none_not_alone")
    return words & _PROMPTS


def _check_response_type(form: Form) -> None:
    if form.get("request") is not None:
        raise RequestNotSupported("request objects are not supported")
    if form.get("request_uri") is not None:
        raise RequestUriNotSupported("request objects are not supported")
    response_type = form.required("response_type")
    if response_type != "code":
        raise UnsupportedResponseType(f"response_type {quoted(response_type)} is not supported")


def _dpop_jkt(form: Form) -> str | None:
    jkt = form.get("dpop_jkt")
    if jkt is not None and (len(jkt) != _THUMBPRINT_CHARACTERS or not jkt.isascii()):
        raise InvalidRequest("dpop_jkt is malformed", reason="dpop_jkt_malformed")
    return jkt
