"""What holds for every answer, whatever was asked."""

import json
import re
from urllib.parse import parse_qsl

from fuzz.world import ISSUER, NATIVE, REDIRECT, Answer, Sent

MOST_BYTES = 256 * 1024
SECURITY_HEADERS = {
    b"x-content-type-options": "nosniff",
    b"x-frame-options": "DENY",
    b"referrer-policy": "no-referrer",
}
MEMBERS = {"error", "error_description", "type", "title", "detail", "status", "reference"}
# RFC 6749 §5.2
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+ \(ref_[a-z2-7]{20}\)")
CODE = re.compile(r"[a-z_]{3,40}")
HEADER = re.compile(rb"[\x20-\x7e]*")
OWN_PATH = re.compile(r"/(?!/)[\x21-\x5b\x5d-\x7e]*")
CLIENT_ERROR, SERVER_ERROR, REDIRECTED = 400, 500, 303


def check_answer(sent: Sent, answer: Answer) -> None:
    """Check what every response of the public listener has (public API §1.3, §1.4)."""
    assert 200 <= answer.status < SERVER_ERROR, f"status {answer.status}"
    assert len(answer.body) < MOST_BYTES
    for name, value in answer.headers:
        assert HEADER.fullmatch(value), f"{name!r}: {value!r}"
    for name, expected in SECURITY_HEADERS.items():
        assert answer.header(name) == expected, name
    policy = answer.header(b"content-security-policy") or ""
    assert policy.startswith("default-src 'none'"), policy
    assert "unsafe" not in policy
    assert answer.header(b"x-request-id")
    if sent.method != "HEAD":
        assert int(answer.header(b"content-length") or 0) == len(answer.body)
    kind = answer.header(b"content-type") or ""
    if kind.startswith("text/html"):
        assert answer.header(b"cache-control") == "no-store"
        assert b"<script" not in answer.body.lower()
        assert b"<b>&<" not in answer.body


def check_refusal(answer: Answer) -> None:
    """Check the body of an OAuth error (errors.md §1)."""
    kind = answer.header(b"content-type")
    assert kind in {"application/problem+json", "application/json"}, kind
    assert answer.header(b"cache-control") == "no-store"
    body = json.loads(answer.body)
    assert body.keys() == MEMBERS, body
    assert body["status"] == answer.status
    assert CODE.fullmatch(body["error"]), body
    assert body["error"] != "server_error"
    assert DESCRIPTION.fullmatch(body["error_description"]), body
    assert body["detail"] == body["error_description"]
    assert body["type"].endswith("/" + body["error"])
    assert body["reference"] in body["error_description"]
    assert ("www-authenticate" in str(answer.headers)) == (answer.status == 401)


def check_redirect(answer: Answer, *, state: str, registered: tuple[str, ...] = (REDIRECT, NATIVE)) -> None:
    """Check where an authorization request was sent: on, here, or back to an address of the client's, with ``iss``."""
    location = answer.header(b"location") or ""
    if location.startswith(("/login?redirect=", "/consent?session_id=")):
        assert OWN_PATH.fullmatch(location)
        return
    address, _, added = location.partition("&" if "?kept=1" in location else "?")
    assert is_registered(address, registered), location
    pairs = parse_qsl(added, keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict")
    told = dict(pairs)
    assert len(told) == len(pairs), location
    assert told["iss"] == ISSUER
    assert ("code" in told) != ("error" in told)
    assert told.get("error") != "server_error"
    if "error" in told:
        assert DESCRIPTION.fullmatch(told["error_description"]), told
    assert told.get("state", "") == state


def is_registered(address: str, registered: tuple[str, ...]) -> bool:
    """Whether an address is a registered one, byte for byte but for the port of the loopback one."""
    return address in registered or (
        NATIVE in registered and re.fullmatch(r"(?i)http://127\.0\.0\.1(:[0-9]{1,5})?/callback", address) is not None
    )
