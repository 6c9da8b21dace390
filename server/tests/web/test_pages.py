import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from itertools import product
from types import SimpleNamespace

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from authserver.web.pages import build_policy, page, render, render_error_page

LOGIN: dict[str, object] = {
    "error": "Invalid email or password",
    "error_is_credentials": True,
    "issuer_host": "auth.example.com",
    "csrf_token": "token",
    "reference": "ref_abcdefghijklmnopqrst",
    "redirect": "/oauth/authorize?a=b&c=d",
    "email": "ann@example.com",
}
CONSENT: dict[str, object] = {
    "client_name": "Inspector",
    "client_id": "n7Yc0Zp5S3yR2o0uQm1xKQ",
    "client_host": "",
    "resource": SimpleNamespace(title="Notebook", slug="notes", uri="https://mcp.example.com/mcp"),
    "scopes": [
        SimpleNamespace(name="notes:write", description="Change notes"),
        SimpleNamespace(name="notes:read", description=""),
    ],
    "granted": (),
    "kept": (),
    "redirect_host": "client.example",
    "is_loopback": False,
    "account": "ann@example.com",
    "restart_path": "/oauth/authorize?client_id=x",
    "form_action": "consent",
    "form_id_name": "session_id",
    "form_id": "the-request",
    "csrf_token": "the-token",
}
ERROR: dict[str, object] = {
    "title": "Invalid Client",
    "message": "No.",
    "reference": "ref_a",
    "request_id": "r-1",
    "next_step": "Go.",
}
PAGES: list[tuple[str, dict[str, object]]] = [
    ("login/login.html", LOGIN),
    ("login/signed_in.html", {"account": "ann@example.com"}),
    ("authorization/consent.html", CONSENT),
    ("authorization/answered.html", {"title": "Access allowed", "message": "Claude may now use Notes for you."}),
    (
        "authorization/other_account.html",
        {"account": "ann@example.com", "restart_path": "/authorize?ticket=x", "reference": "ref_x"},
    ),
    ("authorization/consent.html", CONSENT | {"resource": None, "redirect_host": "cursor:"}),
    ("authorization/consent.html", CONSENT | {"is_loopback": True, "client_host": "claude.ai"}),
    (
        "authorization/consent.html",
        CONSENT | {"granted": ("notes:read",), "kept": [SimpleNamespace(name="notes:share", description="Share")]},
    ),
    ("web/error.html", ERROR),
]
VOID = {"meta", "link", "input", "rect", "path"}


class Document(HTMLParser):
    """A page taken apart: every element with its attributes, and the text that a person reads."""

    def __init__(self, source: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize(("template", "context"), PAGES)
def test_a_page_needs_nothing_that_the_policy_forbids(template: str, context: dict[str, object]) -> None:
    document = Document(render(template, **context))
    assert not document.all("script")
    for tag, attributes in document.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        assert not attributes.get("src")
        assert attributes.get("href", "data:").startswith("data:")
        assert "://" not in attributes.get("action", "")


@pytest.mark.parametrize(("template", "context"), PAGES)
def test_a_page_can_be_used_by_everybody(template: str, context: dict[str, object]) -> None:
    source = render(template, **context)
    document = Document(source)
    assert document.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in document.all("meta")
    assert [len(document.all(tag)) for tag in ("title", "main", "h1")] == [1, 1, 1]
    labelled = {label.get("for") for label in document.all("label")}
    for field in document.all("input"):
        if field.get("type") == "checkbox":
            assert re.search(rb"<label><input[^>]* value=\"%s\"" % field["value"].encode(), source)
        elif field.get("type") != "hidden":
            assert field["id"] in labelled
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_policy_names_the_style_by_its_hash() -> None:
    source = render("web/error.html", **ERROR)
    style = source.partition(b"<style>")[2].partition(b"</style>")[0]
    digest = b64encode(sha256(style).digest()).decode()
    assert build_policy().decode() == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' data:; base-uri 'none';"
        " frame-ancestors 'none'; form-action 'self'"
    )


def test_a_page_is_html_that_nothing_caches() -> None:
    response = page("login/signed_in.html", status=418, headers=((b"retry-after", b"1"),), account="ann")
    assert response.status == 418
    assert response.headers == (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", build_policy()),
        (b"retry-after", b"1"),
    )


@pytest.mark.parametrize("source", ["https://client.example", "http://127.0.0.1:3333", "http:", "com.example.app:"])
def test_a_form_may_lead_to_one_more_origin_or_scheme(source: str) -> None:
    assert build_policy(source).decode().endswith(f"; form-action 'self' {source}")


@pytest.mark.parametrize(
    "source",
    ["", "*", "https://a b", "https://a;script-src *", "https://a\r\nx: y", "https://a,b", "https:\n", "https"],
)
def test_nothing_else_gets_into_the_policy(source: str) -> None:
    with pytest.raises(ValueError, match="source expression"):
        build_policy(source)


def test_every_value_is_escaped() -> None:
    hostile = '"><script>alert(1)</script>'
    for template, context in PAGES:
        texts = {name: hostile if isinstance(value, str) else value for name, value in context.items()}
        assert not Document(render(template, **texts)).all("script")
        assert b"<script" not in render(template, **texts)


def test_a_value_that_is_missing_is_a_fault() -> None:
    with pytest.raises(UndefinedError):
        render("login/signed_in.html")


def test_a_template_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(TemplateNotFound):
        render("web/nothing.html")


def test_an_error_page_says_what_happened_what_to_do_and_how_to_find_it_again() -> None:
    response = render_error_page(
        title="Invalid Client", message="Nobody knows it.", reference="ref_abc", status=400, request_id="r-1"
    )
    words = Document(response.body).words
    assert response.status == 400
    assert "Invalid Client Nobody knows it. Go back to the application" in words
    assert "Reference ref_abc" in words
    assert "Request r-1" in words


def test_an_error_page_without_ids_lists_none() -> None:
    assert b"<dl" not in render_error_page(title="T", message="M", reference="", status=404).body


def test_the_consent_page_says_who_asks_for_what_and_where_the_answer_goes() -> None:
    document = Document(render("authorization/consent.html", **CONSENT))
    assert "Allow Inspector to use Notebook?" in document.words
    assert "own claim; nobody has checked it. Client ID n7Yc0Zp5S3yR2o0uQm1xKQ" in document.words
    assert "Notebook notes https://mcp.example.com/mcp" in document.words
    assert "Change notes notes:write notes:read" in document.words
    assert "You will be sent to client.example" in document.words
    assert "Signed in as ann@example.com" in document.words
    boxes = [field for field in document.all("input") if field.get("type") == "checkbox"]
    assert [(box["name"], box["value"], "checked" in box) for box in boxes] == [
        ("scopes", "notes:write", True),
        ("scopes", "notes:read", True),
    ]


def test_the_consent_form_carries_the_request_its_token_and_the_decision() -> None:
    document = Document(render("authorization/consent.html", **CONSENT))
    hidden = [(f["name"], f["value"]) for f in document.all("input") if f["type"] == "hidden"]
    assert hidden == [
        ("session_id", "the-request"),
        ("csrf_token", "the-token"),
        ("redirect", "/oauth/authorize?client_id=x"),
    ]
    assert document.all("form") == [
        {"method": "post", "action": "consent"},
        {"class": "account foot", "method": "post", "action": "logout"},
    ]
    # The first button is the one that Enter presses.
    assert [button.get("value") for button in document.all("button")] == ["deny", "allow", None]


def test_a_client_known_by_its_url_is_called_by_its_host() -> None:
    context = CONSENT | {
        "client_host": "claude.ai",
        "client_id": "https://claude.ai/client",
        "client_name": "Your bank",
    }
    words = Document(render("authorization/consent.html", **context)).words
    assert "Allow claude.ai to use Notebook?" in words
    assert "claude.ai It calls itself “Your bank” Client ID https://claude.ai/client" in words


def test_a_loopback_redirect_is_warned_of() -> None:
    warning = "Any program on it can ask for this under any name"
    for is_loopback in (True, False):
        document = Document(render("authorization/consent.html", **CONSENT | {"is_loopback": is_loopback}))
        assert (warning in document.words) is is_loopback


def test_a_private_scheme_is_named_as_what_it_is() -> None:
    words = Document(render("authorization/consent.html", **CONSENT | {"redirect_host": "cursor:"})).words
    assert "You will be sent to the application on this device that opens links of cursor:" in words


def test_nothing_is_said_of_a_redirect_that_does_not_happen() -> None:
    assert b"sent to" not in render("authorization/consent.html", **CONSENT | {"redirect_host": ""})


def test_a_name_cannot_turn_the_text_around_it() -> None:
    context = CONSENT | {"client_name": "\u202eknab\u202c\u2066\u200f <b>bank</b>\n\x07"}
    source = render("authorization/consent.html", **context).decode()
    assert source.count("<bdi>knab &lt;b&gt;bank&lt;/b&gt;</bdi>") == 2
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069\x07]", source)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_text_and_fields_stand_out_in_light_and_dark() -> None:
    source = render("web/error.html", **ERROR).decode()
    palettes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in source.split("}")[:2]]
    grounds = ("ground", "surface", "sunken")
    pairs = [
        *product(("text", "quiet", "accent", "accent-strong"), grounds),
        ("on-accent", "accent"),
        ("on-accent", "accent-strong"),
        ("wrong", "wrong-ground"),
        ("caution", "caution-ground"),
    ]
    assert len(palettes) == 2
    for palette in palettes:
        for front, back in pairs:
            assert _contrast(palette[front], palette[back]) >= 4.5, (front, back)
        for edge in ("edge", "ring"):
            assert _contrast(palette[edge], palette["surface"]) >= 3, edge
