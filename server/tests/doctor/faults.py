"""Set-ups that are broken in one way each, and the code of the finding that names it."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import generate_signing_key
from server.tests.doctor.laboratory import Answer, Setup, json_answer
from server.tests.fakes.certificates import tls_contexts

Break = Callable[[Setup], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One broken set-up.

    Attributes:
        what: What is broken.
        code: The only finding.
        break_: Breaks it.
        with_token: Whether the doctor is given a token.
        layout: What is laid out otherwise from the beginning.
    """

    what: str
    code: str
    break_: Break
    with_token: bool = False
    layout: dict[str, Any]


FAULTS: list[Fault] = []


def fault(code: str, what: str, *, token: bool = False, **layout: Any) -> Callable[[Break], Break]:
    def register(function: Break) -> Break:
        FAULTS.append(Fault(what=what, code=code, break_=function, with_token=token, layout=layout))
        return function

    return register


def mcp(setup: Setup) -> tuple[str, str]:
    return ("POST", setup.mcp_url)


def prm(setup: Setup) -> tuple[str, str]:
    return ("GET", setup.prm_url)


def server_everywhere(setup: Setup, answer: Answer) -> None:
    """Let every spelling of the server's metadata answer alike."""
    for name in ("oauth-authorization-server", "openid-configuration"):
        setup.overrides["GET", f"{setup.issuer}/.well-known/{name}"] = answer


CORS = {"Access-Control-Allow-Origin": "*"}
PAGE = Answer(200, b"<html>welcome</html>", {"content-type": "text/html", **CORS})

# Connection


@fault("tls-untrusted", "a self-signed certificate", certificate="untrusted")
@fault("tls-expired", "a certificate of last year", certificate="expired")
@fault("tls-wrong-name", "a certificate of another host", certificate="other name")
@fault("tls-expires-soon", "a certificate that nobody renews", certificate="expiring")
@fault("plain-http", "http on a public name", host="mcp.example.com")
def as_laid_out(_setup: Setup) -> None: ...


@fault("tls-failed", "a TLS port that speaks plain HTTP")
def no_tls(s: Setup) -> None:
    s.mcp_url = s.mcp_url.replace("http:", "https:")


@fault("timeout", "an MCP server that hangs")
def mcp_hangs(s: Setup) -> None:
    s.overrides[mcp(s)] = Answer(never=True)


@fault("timeout", "an authorization server that hangs")
def issuer_hangs(s: Setup) -> None:
    server_everywhere(s, Answer(never=True))


@fault("unreachable", "an authorization server that is not running")
def issuer_down(s: Setup) -> None:
    s.prm["authorization_servers"] = ["http://127.0.0.1:1"]


@fault("redirect-loop", "protected-resource metadata that redirects to itself")
def prm_loops(s: Setup) -> None:
    s.overrides[prm(s)] = Answer(302, headers={"Location": s.prm_url})


@fault("redirect-elsewhere", "protected-resource metadata on another server")
def prm_elsewhere(s: Setup) -> None:
    s.overrides[prm(s)] = Answer(302, headers={"Location": f"{s.issuer}/prm"})
    s.overrides["GET", f"{s.issuer}/prm"] = json_answer(s.prm, **CORS)


@fault("redirected", "a key set that moved")
def jwks_moved(s: Setup) -> None:
    s.overrides["GET", s.jwks_url] = Answer(301, headers={"Location": "/keys"})
    s.overrides["GET", f"{s.issuer}/keys"] = json_answer(s.jwks, **CORS)


# Challenge


@fault("nothing-here", "the URL of something else")
def other_page(s: Setup) -> None:
    s.mcp_url = s.mcp_url.replace("/mcp", "/about")
    s.overrides[mcp(s)] = Answer(404)
    s.overrides["GET", s.prm_url] = Answer(404)


@fault("mcp-redirect", "an MCP endpoint that insists on a slash")
def slash_redirect(s: Setup) -> None:
    s.overrides[mcp(s)] = Answer(307, headers={"Location": f"{s.mcp_url}/"})


@fault("mcp-5xx", "an MCP server that fails without a token")
def mcp_fails(s: Setup) -> None:
    s.overrides[mcp(s)] = Answer(500)


@fault("challenge-not-401", "403 where a token is missing")
def forbidden(s: Setup) -> None:
    s.challenge_status = 403


@fault("no-token-needed", "an MCP server that lets everybody in")
def open_door(s: Setup) -> None:
    s.accepts = lambda _token: True


@fault("any-token-accepted", "an MCP server that only looks whether there is a token")
def any_token(s: Setup) -> None:
    s.accepts = lambda token: token is not None


@fault("any-token-accepted", "an MCP server that takes alg none")
def takes_none(s: Setup) -> None:
    s.accepts = lambda token: token is not None and token.endswith(".")


@fault("bad-token-5xx", "an MCP server that fails on a bad token")
def fails_on_bad(s: Setup) -> None:
    def crash(token: str | None) -> bool:
        s.challenge_status = 401 if token is None else 500
        return False

    s.accepts = crash


@fault("bad-token-not-401", "403 for a bad token")
def forbids_bad(s: Setup) -> None:
    def forbid(token: str | None) -> bool:
        s.challenge_status = 401 if token is None else 403
        return False

    s.accepts = forbid


@fault("challenge-missing", "401 without a challenge")
def no_challenge(s: Setup) -> None:
    s.challenge = None


@fault("challenge-not-bearer", "a challenge for passwords")
def basic(s: Setup) -> None:
    s.challenge = 'Basic realm="notes"'


@fault("challenge-no-metadata", "a challenge without resource_metadata")
def no_pointer(s: Setup) -> None:
    s.challenge = 'Bearer realm="notes", error="invalid_token"'


@fault("challenge-metadata-relative", "a relative resource_metadata")
def relative_pointer(s: Setup) -> None:
    s.challenge = 'Bearer resource_metadata="/.well-known/oauth-protected-resource/mcp"'


@fault("challenge-metadata-foreign", "resource_metadata of another host")
def foreign_pointer(s: Setup) -> None:
    s.challenge = 'Bearer resource_metadata="http://internal:8080/.well-known/oauth-protected-resource"'


@fault("challenge-metadata-dead", "resource_metadata that leads to nothing")
def dead_pointer(s: Setup) -> None:
    s.challenge = f'Bearer resource_metadata="{s.mcp_url}/metadata"'


# Resource


@fault("prm-missing", "no protected-resource metadata")
def no_prm(s: Setup) -> None:
    s.overrides[prm(s)] = Answer(404)


@fault("prm-path-missing", "protected-resource metadata at a URL of its own")
def own_prm(s: Setup) -> None:
    s.challenge = f'Bearer resource_metadata="{s.mcp_url}/metadata"'
    s.overrides["GET", f"{s.mcp_url}/metadata"] = json_answer(s.prm, **CORS)
    s.overrides[prm(s)] = Answer(404)


@fault("prm-5xx", "protected-resource metadata that fails")
def prm_fails(s: Setup) -> None:
    s.overrides[prm(s)] = Answer(503)


@fault("prm-refused", "protected-resource metadata behind the token check")
def prm_protected(s: Setup) -> None:
    s.overrides[prm(s)] = Answer(401)


@fault("prm-not-json", "a web application that answers every path")
def prm_html(s: Setup) -> None:
    s.overrides[prm(s)] = PAGE


@fault("prm-content-type", "protected-resource metadata as plain text")
def prm_text(s: Setup) -> None:
    s.overrides[prm(s)] = json_answer(s.prm, content_type="text/plain", **CORS)


@fault("prm-variants-differ", "two protected-resource documents")
def two_prms(s: Setup) -> None:
    s.challenge = f'Bearer resource_metadata="{s.mcp_url}/metadata"'
    s.overrides["GET", f"{s.mcp_url}/metadata"] = json_answer(s.prm | {"resource_name": "Notes"}, **CORS)


@fault("resource-missing", "metadata without a resource")
def no_resource(s: Setup) -> None:
    del s.prm["resource"]


@fault("resource-slash", "a resource with a slash too many")
def resource_slash(s: Setup) -> None:
    s.prm["resource"] += "/"


@fault("resource-root-slash", "a resource that is an origin, with a slash", path="")
def root_slash(s: Setup) -> None:
    s.prm["resource"] += "/"


@fault("resource-case", "a resource in capitals", host="localhost")
def resource_case(s: Setup) -> None:
    s.prm["resource"] = s.mcp_url.replace("localhost", "LocalHost")


@fault("resource-path", "the origin as resource")
def resource_path(s: Setup) -> None:
    s.prm["resource"] = s.mcp_url.removesuffix("/mcp")


@fault("resource-origin", "the name behind the proxy as resource")
def resource_origin(s: Setup) -> None:
    s.prm["resource"] = "http://backend:8080/mcp"


@fault("prm-no-servers", "no authorization server named")
def no_servers(s: Setup) -> None:
    s.prm["authorization_servers"] = []


@fault("prm-server-invalid", "an authorization server named by its host")
def server_host(s: Setup) -> None:
    s.prm["authorization_servers"].append("auth.example.com")


@fault("prm-scopes", "a wildcard among the scopes")
def wildcard(s: Setup) -> None:
    s.prm["scopes_supported"] = ["notes:*"]


# Server


@fault("metadata-missing", "an authorization server without metadata")
def no_metadata(s: Setup) -> None:
    s.metadata_urls = []


@fault("metadata-one-spelling", "OpenID Connect's spelling alone")
def one_spelling(s: Setup) -> None:
    del s.metadata_urls[0]


@fault("metadata-5xx", "an authorization server that fails")
def metadata_fails(s: Setup) -> None:
    server_everywhere(s, Answer(502))


@fault("metadata-refused", "metadata that is not public")
def metadata_refused(s: Setup) -> None:
    server_everywhere(s, Answer(403))


@fault("metadata-not-json", "a page instead of metadata")
def metadata_html(s: Setup) -> None:
    server_everywhere(s, PAGE)


@fault("metadata-content-type", "metadata as plain text")
def metadata_text(s: Setup) -> None:
    server_everywhere(s, json_answer(s.metadata, content_type="text/plain", **CORS))


@fault("metadata-variants-differ", "an old document under one spelling")
def metadata_differs(s: Setup) -> None:
    old = s.metadata | {"token_endpoint": f"{s.issuer}/old"}
    s.overrides["GET", s.metadata_urls[1]] = json_answer(old, **CORS)


@fault("issuer-missing", "metadata without an issuer")
def no_issuer(s: Setup) -> None:
    del s.metadata["issuer"]


@fault("issuer-slash", "an issuer with a slash too many")
def issuer_slash(s: Setup) -> None:
    s.metadata["issuer"] += "/"


@fault("issuer-mismatch", "the issuer of another environment")
def issuer_other(s: Setup) -> None:
    s.metadata["issuer"] = "https://staging.example.com"


@fault("pkce-missing", "no code_challenge_methods_supported")
def no_pkce(s: Setup) -> None:
    del s.metadata["code_challenge_methods_supported"]


@fault("pkce-no-s256", "PKCE without S256")
def plain_pkce(s: Setup) -> None:
    s.metadata["code_challenge_methods_supported"] = ["plain"]


@fault("registration-impossible", "no way to register")
def no_registration(s: Setup) -> None:
    del s.metadata["registration_endpoint"]


@fault("endpoint-missing", "no token endpoint")
def no_token_endpoint(s: Setup) -> None:
    del s.metadata["token_endpoint"]


@fault("endpoint-http", "an endpoint announced with http")
def http_endpoint(s: Setup) -> None:
    s.metadata["token_endpoint"] = "http://auth.example.com/token"


@fault("endpoint-origin", "an endpoint of another host")
def foreign_endpoint(s: Setup) -> None:
    s.metadata["authorization_endpoint"] = "https://internal.example.com/authorize"


@fault("jwks-not-announced", "no key set and no introspection")
def no_jwks_uri(s: Setup) -> None:
    del s.metadata["jwks_uri"]


# Keys


@fault("jwks-missing", "a key set that is not there")
def jwks_missing(s: Setup) -> None:
    s.overrides["GET", s.jwks_url] = Answer(404, headers=CORS)


@fault("jwks-5xx", "a key set that fails")
def jwks_fails(s: Setup) -> None:
    s.overrides["GET", s.jwks_url] = Answer(500, headers=CORS)


@fault("jwks-not-json", "a page instead of keys")
def jwks_html(s: Setup) -> None:
    s.overrides["GET", s.jwks_url] = PAGE


@fault("jwks-empty", "an empty key set")
def jwks_empty(s: Setup) -> None:
    s.jwks["keys"] = []


@fault("jwks-private", "a private key in the key set")
def jwks_private(s: Setup) -> None:
    s.jwks["keys"][0]["d"] = "AAAA"


@fault("jwks-unusable", "a key for encryption alone")
def jwks_encryption(s: Setup) -> None:
    s.jwks["keys"][0]["use"] = "enc"


@fault("jwks-algorithm", "a key with the wrong alg", token=True)
def jwks_algorithm(s: Setup) -> None:
    s.jwks["keys"][0]["alg"] = "RS256"


@fault("jwks-no-kid", "a key without a name")
def jwks_no_kid(s: Setup) -> None:
    del s.jwks["keys"][0]["kid"]


@fault("jwks-duplicate-kid", "two keys of one name")
def jwks_duplicate(s: Setup) -> None:
    s.jwks["keys"].append(dict(generate_signing_key("ES256", kid="k1").public.jwk))


# Token


@fault("token-opaque", "an opaque token", token=True)
def opaque(s: Setup) -> None:
    s.token = "not-a-jwt-at-all"


@fault("token-type", "an ID token", token=True)
def id_token(s: Setup) -> None:
    s.header["typ"] = "JWT"


@fault("token-algorithm", "a token without a signature", token=True)
def unsigned(s: Setup) -> None:
    s.header["alg"] = "none"
    s.token = s.issue().rpartition(".")[0] + "."


@fault("token-claims", "a token without a subject", token=True)
def no_subject(s: Setup) -> None:
    del s.claims["sub"]


@fault("token-issuer", "a token of another server", token=True)
def other_issuer(s: Setup) -> None:
    s.claims["iss"] = "https://elsewhere.example.com"


@fault("token-issuer", "a token whose issuer has a slash", token=True)
def slashed_issuer(s: Setup) -> None:
    s.claims["iss"] += "/"


@fault("token-audience", "a token for another resource", token=True)
def other_audience(s: Setup) -> None:
    s.claims["aud"] = ["https://other.example.com/mcp"]


@fault("token-expired", "a token of yesterday", token=True)
def expired(s: Setup) -> None:
    s.claims["exp"] = s.now - 3600


@fault("token-not-yet-valid", "a token of tomorrow", token=True)
def future(s: Setup) -> None:
    s.claims["nbf"] = s.now + 3600


@fault("token-scope", "a token with too little scope", token=True)
def little_scope(s: Setup) -> None:
    s.claims["scope"] = "notes:write"
    s.accepts = lambda _token: False


@fault("token-kid-unknown", "a key that is not published", token=True)
def rotated_away(s: Setup) -> None:
    s.header["kid"] = "k0"


@fault("token-kid-missing", "a token that does not name its key", token=True)
def no_kid(s: Setup) -> None:
    del s.header["kid"]
    s.jwks["keys"].append(dict(generate_signing_key("ES256", kid="k2").public.jwk))


@fault("token-signature", "an altered token", token=True)
def altered(s: Setup) -> None:
    head, claims, _ = s.issue().split(".")
    s.token = f"{head}.{claims}.{base64url(b'x' * 64)}"


@fault("token-refused", "an MCP server that expects another audience", token=True)
def misconfigured(s: Setup) -> None:
    s.accepts = lambda _token: False


# Clock


@fault("clock-skew", "a clock that is an hour fast", token=True)
def fast_clock(s: Setup) -> None:
    s.skew = 3600
    s.claims |= {"iat": s.now + 3600, "nbf": s.now + 3600, "exp": s.now + 7200}


@fault("clock-skew", "a clock that is ten minutes slow")
def slow_clock(s: Setup) -> None:
    s.skew = -600


# CORS


@fault("cors-documents", "metadata that no page may read")
def metadata_without_cors(s: Setup) -> None:
    s.silent_cors.update(s.metadata_urls)


@fault("cors-mcp", "an MCP server that no page may call")
def mcp_without_cors(s: Setup) -> None:
    s.silent_cors.add(s.mcp_url)


@fault("cors-expose", "a challenge that no page may read")
def hidden_challenge(s: Setup) -> None:
    s.exposed = "MCP-Session-Id"


@fault("cors-endpoints", "a token endpoint that no page may call")
def token_without_cors(s: Setup) -> None:
    s.silent_cors.add(f"{s.issuer}/token")


def contexts(kind: str, directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
    """Return the TLS context of a server with such a certificate, and the client's."""
    now = datetime.now(UTC)
    match kind:
        case "untrusted":
            return tls_contexts(directory, "127.0.0.1")[0], None
        case "expired":
            return tls_contexts(directory, "127.0.0.1", until=now - timedelta(days=300))
        case "expiring":
            return tls_contexts(directory, "127.0.0.1", until=now + timedelta(days=3))
        case "other name":
            return tls_contexts(directory, "other.example.com")
        case _:
            return tls_contexts(directory, "127.0.0.1")
