"""A browser as far as signing in and consenting needs one: cookies, redirects, forms."""

import http.client
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin, urlsplit

_MAX_STEPS = 20


class _Forms(HTMLParser):
    """Finds the forms of a page: where each goes, and what it sends as it stands, every box ticked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str]]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.found.append((given.get("action") or "", []))
        elif tag == "input" and self.found and given.get("name"):
            self.found[-1][1].append((given["name"] or "", given.get("value") or ""))


@dataclass(slots=True)
class Browser:
    """Follows redirects within one origin and fills in the forms it meets."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """The Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def visit(self, path: str, *, fill: dict[str, str], until: str) -> str:
        """Go to a path, submit each first form with a field filled in from ``fill``, and stop on the way to ``until``.

        Args:
            path: Where to begin.
            fill: Field name to value; ``action`` stands for a button.
            until: The prefix of the URL where it ends.

        Returns:
            The URL it was sent to.
        """
        method, body = "GET", ""
        for _ in range(_MAX_STEPS):
            status, location, page = self._ask(method, path, body)
            if location.startswith(until):
                return location
            if location:
                method, body = "GET", ""
                path = urlsplit(urljoin(f"http://localhost{path}", location))._replace(scheme="", netloc="").geturl()
                continue
            forms = _Forms(page).found
            if not forms or status >= 500:
                raise RuntimeError(f"{path} answered {status} without a form: {page[:500]}")
            action, fields = forms[0]
            filled = [(name, fill.get(name, value)) for name, value in fields]
            names = {name for name, _ in fields}
            filled += [(name, value) for name, value in fill.items() if name == "action" and name not in names]
            method, body = "POST", urlencode(filled)
            path = urlsplit(urljoin(f"http://localhost{path}", action))._replace(scheme="", netloc="").geturl()
        raise RuntimeError(f"signing in never ended; last at {path}")

    def _ask(self, method: str, path: str, body: str) -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Host": f"localhost:{self.port}", "Cookie": self.cookie}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        page = response.read().decode()
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                self._keep(value)
        connection.close()
        return response.status, response.getheader("location") or "", page

    def _keep(self, header: str) -> None:
        pair, *attributes = header.split(";")
        name, _, value = pair.strip().partition("=")
        if any(
            attribute.strip().lower() in {"max-age=0", "expires=thu, 01 jan 1970 00:00:00 gmt"}
            for attribute in attributes
        ):
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value
