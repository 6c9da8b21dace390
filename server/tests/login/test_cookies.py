import pytest

from authserver.login.cookies import Cookie
from server.tests.web.builders import a_request

COOKIE = Cookie(name="session", path="/", max_age=60, is_secure=True, same_site="lax")


def test_a_cookie_is_set_and_cleared_with_the_same_attributes() -> None:
    assert COOKIE.set("a|b") == (
        b"set-cookie",
        b"session=a|b; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax",
    )
    assert COOKIE.clear() == (b"set-cookie", b"session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax")


def test_without_tls_and_below_a_path() -> None:
    cookie = Cookie(name="s", path="/auth", max_age=60, is_secure=False, same_site="none")
    assert cookie.set("x") == (b"set-cookie", b"s=x; Path=/auth; Max-Age=60; HttpOnly; SameSite=None")


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([b"session=x"], "x"),
        ([b"a=b; session=x=y|z; c=d"], "x=y|z"),
        ([b"a=b", b"session=x"], "x"),
        ([b"session=first; session=second"], "first"),
        ([b"session="], None),
        ([b"mysession=x; sessions=y; SESSION=z"], None),
        ([b"session"], None),
        ([], None),
    ],
)
def test_a_cookie_is_read_by_its_whole_name(headers: list[bytes], value: str | None) -> None:
    assert COOKIE.read(a_request(headers=tuple((b"cookie", header) for header in headers))) == value
