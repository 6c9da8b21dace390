"""The answer to a client: always a 303 to its redirect URI, always with ``iss`` (RFC 6749 §4.1.2, RFC 9207)."""

from functools import lru_cache

from authserver.protocol.errors import OAuthError, ServerError
from authserver.protocol.redirect_uris import add_query, form_encoded
from authserver.web.errors import report_refusal, wire_description
from authserver.web.http import NO_STORE, HttpResponse


def redirect(location: str) -> HttpResponse:
    """Return a 303: a browser follows it with GET and forgets what it posted (RFC 9700 §4.12)."""
    return HttpResponse(303, b"", ((b"location", location.encode("latin-1")), NO_STORE))


def code_answer(redirect_uri: str, *, code: str, state: str, issuer: str) -> HttpResponse:
    """Send the code."""
    return _answer(redirect_uri, {"code": code}, state=state, issuer=issuer)


def error_answer(redirect_uri: str, exc: OAuthError, *, client_id: str, state: str, issuer: str) -> HttpResponse:
    """Send a refusal, with its reference id behind the description (ruling R48).

    Args:
        redirect_uri: Where to.
        exc: The refusal.
        client_id: The client, for the log.
        state: As the client sent it.
        issuer: This server.
    """
    report_refusal(exc, client_id=client_id)
    text = "an internal error occurred" if isinstance(exc, ServerError) else exc.description
    parameters = {"error": exc.error, "error_description": wire_description(text, exc.reference)}
    return _answer(redirect_uri, parameters, state=state, issuer=issuer)


def _answer(redirect_uri: str, parameters: dict[str, str], *, state: str, issuer: str) -> HttpResponse:
    if state:
        parameters["state"] = state
    return redirect(f"{add_query(redirect_uri, parameters)}&iss={_encoded(issuer)}")


@lru_cache(maxsize=4)
def _encoded(issuer: str) -> str:
    return form_encoded(issuer)
