"""Pages: HTML without script, resources or anything else that a strict content security policy would have to allow."""

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from authserver.web.http import HttpResponse

if TYPE_CHECKING:
    from jinja2 import Environment

_ROOT = files("authserver")


def _read(package: str, name: str) -> str:
    return _ROOT.joinpath(package, "templates", name).read_text(encoding="utf-8")


def _find_template(name: str) -> str | None:
    """Return the source of ``<package>/<file>``: each package keeps the templates of its own pages."""
    package, _, file = name.partition("/")
    try:
        return _read(package, file)
    except OSError:
        return None


_STYLE = _read("web", "style.css")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
_POLICY = (
    "default-src 'none'; "
    f"style-src 'sha256-{_STYLE_HASH}'; "
    "img-src 'self' data:; "
    "base-uri 'none'; "
    "frame-ancestors 'none'; "
    "form-action 'self'"
)
# What a source expression of one origin or one scheme is made of; no space, semicolon or comma can follow it.
_SOURCE = re.compile(r"[a-z][a-z0-9+.-]*:(?://[a-z0-9._-]+(?::[0-9]{1,5})?)?")

# Characters that change how the text around them reads: controls, and those that turn the direction (Unicode UAX 9).
_UNSETTLING = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
START_AGAIN = "Go back to the application you came from and start again."


def _make_inert(name: str) -> str:
    """Return what somebody calls themselves, without characters that make it read as something else."""
    return _UNSETTLING.sub("", name)


@cache
def _environment() -> "Environment":
    """Return the templates. The library is loaded with the first page: a server answers sooner after its start."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  stated above
    from markupsafe import Markup  # noqa: PLC0415  the same

    environment = Environment(
        loader=FunctionLoader(_find_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inert"] = _make_inert
    environment.globals["style"] = Markup(_STYLE)  # noqa: S704  a file of ours, and its hash is in the policy
    return environment


def render(template: str, **context: object) -> bytes:
    """Return a page. Every value of the context is escaped; one that the template names and that is absent is a fault.

    Args:
        template: ``<package>/<file>``, as in ``login/login.html``.
        **context: What the template shows.
    """
    return _environment().get_template(template).render(**context).encode("utf-8", "replace")


def page(
    template: str,
    *,
    status: int = 200,
    csp_form_action: str | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    **context: object,
) -> HttpResponse:
    """Return a page as a response that nothing caches.

    Args:
        template: As for ``render``.
        status: The HTTP status.
        csp_form_action: Where else a form's redirect chain may lead: the source expression of the pending redirect URI
            (ruling R45).
        headers: Further headers.
        **context: What the template shows.
    """
    return HttpResponse(
        status,
        render(template, **context),
        (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", build_policy(csp_form_action)),
            *headers,
        ),
    )


def build_policy(form_action: str | None = None) -> bytes:
    """Return the content security policy of a page (public API, 1.4).

    Args:
        form_action: A source expression to allow as the end of a form's redirect chain beside our own origin.
    """
    if form_action is None:
        return _POLICY.encode()
    if not _SOURCE.fullmatch(form_action):
        raise ValueError("not the source expression of an origin or a scheme")
    return f"{_POLICY} {form_action}".encode()


def render_error_page(
    *,
    title: str,
    message: str,
    reference: str,
    status: int,
    request_id: str = "",
    next_step: str = START_AGAIN,
) -> HttpResponse:
    """Return the page that ends a request: what happened, what to do now, and the words to find it again by.

    Args:
        title: As in the error catalogue (errors.md §8).
        message: One sentence for the person at the browser.
        reference: The id of the refusal in logs and audit rows (ruling R48); empty when it has none.
        status: The HTTP status.
        request_id: As in ``X-Request-ID``.
        next_step: What the person can do.
    """
    return page(
        "web/error.html",
        status=status,
        title=title,
        message=message,
        reference=reference,
        request_id=request_id,
        next_step=next_step,
    )
