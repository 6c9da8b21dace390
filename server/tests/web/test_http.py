import pytest

from authserver.web.http import BodyTooLarge, Disconnected
from server.tests.web.builders import a_request

pytestmark = pytest.mark.anyio


def test_the_first_value_of_a_header_counts_and_all_can_be_had() -> None:
    request = a_request(headers=[(b"dpop", b"one"), (b"accept", b"x"), (b"dpop", b"tw\xf6")])
    assert request.header(b"dpop") == "one"
    assert request.header_values(b"dpop") == ["one", "twö"]
    assert request.header(b"authorization") is None


async def test_a_body_arrives_in_parts() -> None:
    assert await a_request(body=(b"ab", b"", b"c")).body(max_bytes=3) == b"abc"


@pytest.mark.parametrize("parts", [(b"abcd",), (b"ab", b"cd"), (b"ab", b"cd", b"ef")])
async def test_a_body_that_is_too_long_is_refused(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(BodyTooLarge):
        await a_request(body=parts).body(max_bytes=3)


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    with pytest.raises(BodyTooLarge):
        await a_request(body=(), headers=[(b"content-length", b"4")]).body(max_bytes=3)


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"", b"nine", b"9" * 30])
async def test_a_length_that_is_no_number_is_not_believed(length: bytes) -> None:
    assert await a_request(body=(b"abc",), headers=[(b"content-length", length)]).body(max_bytes=3) == b"abc"


async def test_a_client_that_goes_away_is_told_apart_from_an_empty_body() -> None:
    with pytest.raises(Disconnected):
        await a_request(body=()).body(max_bytes=3)
    assert await a_request(body=(b"",)).body(max_bytes=3) == b""
