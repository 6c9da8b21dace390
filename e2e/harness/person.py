"""A person with a browser, by plain HTTP: opens pages, fills forms, follows redirects until the client is reached."""

from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2

from e2e.harness.installation import Account

MAX_STEPS = 12


@dataclass(slots=True)
class Form:
    """A form of a page: where it goes and what it would send, check boxes as they are ticked."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)

    def names(self) -> set[str]:
        """Return the names of its fields."""
        return {name for name, _ in self.fields}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.forms.append(Form(given.get("action") or ""))
        elif tag == "input" and self.forms and given.get("name"):
            ticked = given.get("type") not in {"checkbox", "radio"} or "checked" in given
            if ticked and given.get("type") not in {"submit", "button"}:
                self.forms[-1].fields.append((str(given["name"]), given.get("value") or ""))


def forms_of(page: str) -> list[Form]:
    """Return the forms of a page."""
    parser = _Forms()
    parser.feed(page)
    return parser.forms


class Person:
    """Somebody who signs in and decides.

    Args:
        account: Who they are.
        issuer: The server's pages; whatever leads elsewhere has reached the client.
    """

    def __init__(self, account: Account, *, issuer: str) -> None:
        self._account = account
        self._issuer = issuer
        self._browser = httpx2.Client(follow_redirects=False, timeout=20, headers={"user-agent": "Person"})

    def close(self) -> None:
        """Close the browser."""
        self._browser.close()

    def send_always(self, headers: dict[str, str]) -> None:
        """Have the browser send these headers with every request."""
        self._browser.headers.update(headers)

    def is_refused(self, authorization_url: str, error: str) -> bool:
        """Tell whether an authorization request is answered with this error at once."""
        return f"error={error}" in self._browser.get(authorization_url).headers.get("location", "")

    def cookies(self) -> dict[str, str]:
        """Return what the browser has kept, so that another can be the same person."""
        return {cookie.name: cookie.value or "" for cookie in self._browser.cookies.jar}

    def allow(self, authorization_url: str, *, only: Collection[str] | None = None) -> str:
        """Open an authorization URL, sign in if asked, and allow; return the URL the client is called back with.

        Args:
            authorization_url: What a client sends its user to.
            only: The scopes to leave ticked; all when None.
        """
        return self._walk(authorization_url, action="allow", only=only)

    def deny(self, authorization_url: str) -> str:
        """As ``allow``, but refuse."""
        return self._walk(authorization_url, action="deny", only=None)

    def connect(self, page_url: str, *, user_code: str = "", action: str = "allow") -> str:
        """Open the page for the code of a device, sign in if asked, and answer what it asks; return the last page's text.

        Args:
            page_url: With the code in it or without.
            user_code: What to enter; what the page begins with when empty.
            action: ``allow`` or ``deny``.
        """
        page = self._browser.get(page_url)
        for _ in range(MAX_STEPS):
            if page.is_redirect:
                page = self._browser.get(urljoin(str(page.url), page.headers["location"]))
                continue
            assert page.status_code == 200, f"{page.status_code} at {page.url}: {page.text}"
            asked = [form for form in forms_of(page.text) if "user_code" in form.names()]
            if asked:
                fields = [
                    (name, user_code or value if name == "user_code" else value) for name, value in asked[0].fields
                ]
                page = self._post(urljoin(str(page.url), asked[0].action), fields)
            elif forms_of(page.text):
                page = self._fill(page, action=action, only=None)
            else:
                return page.text
        raise AssertionError(f"the device was not answered from {page_url}")

    def _walk(self, url: str, *, action: str, only: Collection[str] | None) -> str:
        response = self._browser.get(url)
        for _ in range(MAX_STEPS):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if not self._is_ours(target):
                    return target
                response = self._browser.get(target)
                continue
            assert response.status_code == 200, f"{response.status_code} at {response.url}: {response.text}"
            response = self._fill(response, action=action, only=only)
        raise AssertionError(f"the client was not reached from {url}")

    def _fill(self, page: httpx2.Response, *, action: str, only: Collection[str] | None) -> httpx2.Response:
        for form in forms_of(page.text):
            target = urljoin(str(page.url), form.action)
            if "password" in form.names():
                given = {"email": self._account.email, "password": self._account.password}
                return self._post(target, [(name, given.get(name, value)) for name, value in form.fields])
            if "session_id" in form.names():
                kept = [(n, v) for n, v in form.fields if n != "scopes" or only is None or v in only]
                return self._post(target, [*kept, ("action", action)])
        raise AssertionError(f"neither a login nor a consent form at {page.url}: {page.text}")

    def _post(self, url: str, fields: list[tuple[str, str]]) -> httpx2.Response:
        body = urlencode(fields)
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": "null"}
        return self._browser.post(url, content=body, headers=headers)

    def _is_ours(self, url: str) -> bool:
        ours, theirs = urlsplit(self._issuer), urlsplit(url)
        return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def answer_of(callback_url: str) -> dict[str, str]:
    """Return the parameters a client was called back with; each is there once."""
    parameters = parse_qs(urlsplit(callback_url).query, strict_parsing=True)
    assert all(len(values) == 1 for values in parameters.values()), callback_url
    return {name: values[0] for name, values in parameters.items()}
