import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import (
    AccessDenied,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    OAuthError,
    PageRefusal,
    ServerError,
    SlowDown,
)
from authserver.web.errors import fault, oauth_error, page_refusal, refusal, wire_description
from authserver.web.http import ErrorShape, HttpResponse
from server.tests.web.builders import a_request
from server.tests.web.conftest import Lines
from server.tests.web.direct import Answer


def _answer(response: HttpResponse) -> Answer:
    return Answer(response.status, list(response.headers), response.body)


def test_a_refusal_has_both_vocabularies_and_its_reference() -> None:
    exc = InvalidGrant("authorization code has already been used", reason="code_reused")
    answer = _answer(oauth_error(exc, a_request()))
    text = f"authorization code has already been used ({exc.reference})"
    assert answer.status == 400
    assert answer.json() == {
        "error": "invalid_grant",
        "error_description": text,
        "type": "https://docs.authplane.ai/errors/invalid_grant",
        "title": "Bad Request",
        "detail": text,
        "status": 400,
        "reference": exc.reference,
    }
    assert re.fullmatch("ref_[a-z2-7]{20}", exc.reference)
    assert answer.one(b"content-type") == b"application/problem+json"
    assert answer.one(b"cache-control") == b"no-store"
    assert answer.all(b"www-authenticate") == []
    assert answer.all(b"retry-after") == []


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ([b"application/json"], "application/json"),
        ([b"text/html, Application/JSON; q=0.9"], "application/json"),
        ([b"text/html", b"application/json"], "application/json"),
        ([b"application/json, application/problem+json"], "application/problem+json"),
        ([b"*/*"], "application/problem+json"),
        ([], "application/problem+json"),
    ],
)
def test_plain_json_goes_to_who_asks_for_it_alone(accept: list[bytes], content_type: str) -> None:
    request = a_request(headers=[(b"accept", value) for value in accept])
    assert _answer(oauth_error(InvalidRequest("x"), request)).one(b"content-type") == content_type.encode()


def test_a_client_that_did_not_prove_itself_is_challenged() -> None:
    answer = _answer(oauth_error(InvalidClient(), a_request()))
    assert answer.status == 401
    assert answer.one(b"www-authenticate") == b'Basic realm="authserver"'
    assert answer.json()["title"] == "Unauthorized"


def test_who_is_too_fast_is_told_when_to_come_back() -> None:
    answer = _answer(oauth_error(SlowDown(retry_after=7), a_request()))
    assert (answer.status, answer.json()["error"], answer.one(b"retry-after")) == (429, "slow_down", b"7")


@given(st.text())
def test_a_description_is_made_of_what_the_rfc_allows(text: str) -> None:
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", wire_description(text, "ref_a"))


def test_quotation_marks_become_single_ones() -> None:
    assert wire_description('value "a\\b" is not ok', "ref_a") == "value 'a?b' is not ok (ref_a)"


@pytest.mark.parametrize("exc", [AccessDenied("no"), InvalidGrant()])
def test_a_page_refuses_in_words(exc: OAuthError) -> None:
    answer = _answer(refusal(exc, a_request(), ErrorShape.PAGE))
    assert answer.status == exc.status
    assert answer.one(b"content-type") == b"text/html; charset=utf-8"
    assert answer.one(b"cache-control") == b"no-store"
    assert exc.reference.encode() in answer.body
    assert b"r-1" in answer.body


def test_a_page_says_when_to_come_back() -> None:
    assert _answer(refusal(SlowDown(), a_request(), ErrorShape.PAGE)).one(b"retry-after") == b"1"


def test_plain_text_names_the_code_and_the_reference() -> None:
    exc = InvalidRequest("größe is unknown")
    answer = _answer(refusal(exc, a_request(), ErrorShape.PLAIN))
    assert answer.body == f"invalid_request: gr??e is unknown ({exc.reference})\n".encode()


def test_a_refusal_is_found_in_the_log_by_its_reference(logged: Lines) -> None:
    exc = InvalidGrant(reason="code_unknown")
    refusal(exc, a_request(), ErrorShape.OAUTH)
    (line,) = logged()
    assert (line["level"], line["msg"], line["error"]) == ("INFO", "request refused", "invalid_grant")
    assert (line["reason"], line["reference"]) == ("code_unknown", exc.reference)


def test_a_fault_with_a_reason_is_logged_with_its_cause_and_answered_without(logged: Lines) -> None:
    exc = ServerError(reason="mint_issue_failed")
    exc.__cause__ = RuntimeError("the inner cause")
    answer = _answer(refusal(exc, a_request(), ErrorShape.OAUTH))
    assert (answer.status, answer.json()["request_id"]) == (500, "r-1")
    assert answer.json()["error_description"].startswith("internal error (ref_")
    assert b"inner" not in answer.body
    (line,) = logged()
    assert (line["level"], line["reason"]) == ("ERROR", "mint_issue_failed")
    assert "the inner cause" in line["exception"]


def test_a_page_refusal_shows_its_title_and_its_reference(logged: Lines) -> None:
    exc = PageRefusal("Client Suspended", "This application may not sign people in.", status=403)
    answer = _answer(page_refusal(exc, a_request()))
    assert answer.status == 403
    assert b"Client Suspended" in answer.body
    assert exc.reference.encode() in answer.body
    assert logged()[0]["reference"] == exc.reference


@pytest.mark.parametrize(("retry_after", "status"), [(None, 500), (3, 503)])
def test_a_fault_tells_nothing_but_how_to_report_it(retry_after: int | None, status: int) -> None:
    answer = _answer(fault(a_request(), ErrorShape.OAUTH, retry_after=retry_after))
    assert answer.status == status
    reference = answer.json()["reference"]
    assert re.fullmatch("ref_[a-z2-7]{20}", reference)
    assert answer.json() == {
        "error": "server_error",
        "error_description": f"internal error ({reference})",
        "type": "https://docs.authplane.ai/errors/server_error",
        "title": {500: "Internal Server Error", 503: "Service Unavailable"}[status],
        "detail": f"internal error ({reference})",
        "status": status,
        "reference": reference,
        "request_id": "r-1",
    }
    assert answer.all(b"retry-after") == ([] if retry_after is None else [b"3"])
    assert answer.one(b"cache-control") == b"no-store"


@pytest.mark.parametrize("shape", [ErrorShape.PAGE, ErrorShape.PLAIN])
def test_a_fault_is_told_in_the_shape_of_its_route(shape: ErrorShape) -> None:
    answer = _answer(fault(a_request(), shape, retry_after=0))
    assert (answer.status, answer.one(b"retry-after")) == (503, b"1")
    expected = {ErrorShape.PAGE: b"text/html; charset=utf-8", ErrorShape.PLAIN: b"text/plain; charset=utf-8"}
    assert answer.one(b"content-type") == expected[shape]
    with pytest.raises(orjson.JSONDecodeError):
        answer.json()
