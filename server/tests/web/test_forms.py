import re
from urllib.parse import parse_qsl, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidRequest
from authserver.web.forms import MAX_FORM_BYTES, MAX_PARAMETERS, parse_form, parse_query, read_form
from server.tests.web.builders import a_request

pytestmark = pytest.mark.anyio

_ALLOWED = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")
FORM_TYPE = (b"content-type", b"application/x-www-form-urlencoded")
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
names = texts.filter(bool)
# What could be taken for an escape, or an escape for it.
_PIECES = st.lists(st.sampled_from([b"%", b"2", b"%3A", b"%2F", b"%2f", b"%25", b"3A", b"F", b"+", b"&", b"=", b"a"]))


@given(st.lists(st.tuples(names, texts), max_size=60))
def test_what_was_encoded_is_read_back(pairs: list[tuple[str, str]]) -> None:
    form = parse_form(urlencode(pairs).encode())
    for name, _ in pairs:
        sent = [value for key, value in pairs if key == name and value]
        assert form.values(name) == sent
        assert form.get(name) == (sent[0] if sent else None)
        assert (name in form.repeated()) == ([key for key, _ in pairs].count(name) > 1)


@given(st.one_of(st.binary(max_size=80), _PIECES.map(b"".join)))
def test_any_bytes_are_read_as_the_standard_library_reads_them_or_refused(body: bytes) -> None:
    try:
        form = parse_form(body)
    except InvalidRequest as exc:
        assert _ALLOWED.fullmatch(exc.description)  # noqa: PT017  most bytes are no refusal
        return
    expected = parse_qsl(body.decode(), keep_blank_values=True)
    assert {name: form.values(name) for name, _ in expected} == {
        name: [value for key, value in expected if key == name and value] for name, _ in expected
    }


def test_an_empty_value_counts_as_not_sent() -> None:
    form = parse_form(b"scope=&state&code=")
    assert form.get("scope") is None
    assert form.values("state") == []
    with pytest.raises(InvalidRequest, match=r"^code is required$"):
        form.required("code")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"^grant_type is required$"):
        parse_form(b"").required("grant_type")


def test_an_empty_value_among_others_is_passed_over() -> None:
    form = parse_form(b"resource=&resource=a&resource=b")
    assert form.get("resource") == form.required("resource") == "a"
    assert form.values("resource") == ["a", "b"]


def test_empty_values_count_as_repetitions() -> None:
    assert parse_form(b"state=&state=&code=x&scope=a").repeated() == ["state"]


def test_a_plus_is_a_blank_and_an_escaped_plus_is_a_plus() -> None:
    assert parse_form(b"scope=a+b%2Bc").get("scope") == "a b+c"
    assert parse_form(b"my+name=x").get("my name") == "x"


def test_a_value_may_hold_equals_signs() -> None:
    assert parse_form(b"code=a=b==").get("code") == "a=b=="


@pytest.mark.parametrize("body", [b"state=%", b"state=%4", b"state=%zz", b"%g1=a", b"state=100%+sure"])
def test_a_broken_escape_makes_the_form_unreadable(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid form body$"):
        parse_form(body)


@pytest.mark.parametrize("raw", [b"%ff", b"\xff", b"%ED%A0%80", b"%C0%AF"])
def test_text_that_is_not_utf_8_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^'state' is not UTF-8$"):
        parse_form(b"code=x&state=" + raw)


def test_a_name_that_is_not_utf_8_is_repeated_safely() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_form(b'a%ff"%5C=x')
    assert refused.value.description == "'a???' is not UTF-8"


@pytest.mark.parametrize("body", [b"state=a%00b", b"state=a\0b"])
def test_a_nul_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^'state' holds a character that no parameter may have$"):
        parse_form(body)


def test_a_form_may_have_just_so_many_parameters() -> None:
    last = MAX_PARAMETERS - 1
    assert parse_form(b"&".join(b"p%d=v" % n for n in range(last + 1))).get(f"p{last}") == "v"
    with pytest.raises(InvalidRequest, match=r"^invalid form body$"):
        parse_form(b"&".join(b"p%d=v" % n for n in range(last + 2)))


def test_a_query_is_read_as_a_form() -> None:
    uri = "https://client.example/cb?a=b&c=d"
    assert parse_query(b"redirect_uri=" + quote_plus(uri).encode()).get("redirect_uri") == uri
    with pytest.raises(InvalidRequest, match=r"^invalid query string$"):
        parse_query(b"state=%")


@pytest.mark.parametrize(
    "content_type",
    [b"application/x-www-form-urlencoded", b"Application/X-WWW-Form-Urlencoded ; charset=UTF-8"],
)
async def test_the_body_of_a_form_post_is_read(content_type: bytes) -> None:
    request = a_request(body=(b"code=", b"x"), headers=[(b"content-type", content_type)])
    assert (await read_form(request)).get("code") == "x"


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/json")], [(b"content-type", b"text/plain")]])
async def test_a_body_of_another_type_is_not_read(headers: list[tuple[bytes, bytes]]) -> None:
    assert (await read_form(a_request(body=(b"code=x",), headers=headers))).get("code") is None


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"65543")]])
async def test_a_body_over_64_kib_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    exact = b"state=" + b"x" * (MAX_FORM_BYTES - 6)
    assert (await read_form(a_request(body=(exact,), headers=[FORM_TYPE]))).get("state") == "x" * (MAX_FORM_BYTES - 6)
    too_long = (exact, b"x")
    with pytest.raises(InvalidRequest, match=r"^invalid form body$"):
        await read_form(a_request(body=too_long, headers=[FORM_TYPE, *headers]))
