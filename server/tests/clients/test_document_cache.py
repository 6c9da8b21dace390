import pytest

from authserver.clients.document_cache import ExpiringCache, find_lifetime

NOW = 1_790_000_000


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 3600),
        ({"cache-control": "public"}, 3600),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": 'Public, MAX-AGE="600"'}, 600),
        ({"cache-control": "max-age=1"}, 60),
        ({"cache-control": "max-age=86400"}, 3600),
        ({"cache-control": "max-age=0"}, 0),
        ({"cache-control": "max-age=-1"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "max-age=600, max-age=0"}, 0),
        ({"cache-control": "max-age=600, no-store"}, 0),
        ({"cache-control": "No-Cache"}, 0),
        ({"cache-control": 'no-cache="Set-Cookie", max-age=600'}, 0),
        ({"expires": "Mon, 21 Sep 2026 14:23:20 GMT"}, 600),
        ({"expires": "Mon, 21 Sep 2026 14:13:21 GMT"}, 60),
        ({"expires": "Mon, 21 Sep 2026 14:13:20 GMT"}, 0),
        ({"expires": "Mon, 21 Sep 2020 14:13:20 GMT"}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "never"}, 0),
        ({"cache-control": "max-age=120", "expires": "0"}, 120),
        ({"cache-control": "private", "expires": "Mon, 21 Sep 2026 14:23:20 GMT"}, 600),
    ],
)
def test_the_lifetime_is_what_the_answer_says_within_bounds(headers: dict[str, str], seconds: int) -> None:
    assert find_lifetime(headers, most=3600, now=NOW) == seconds


@pytest.mark.parametrize(("most", "seconds"), [(10, 10), (0, 0), (-1, 0)])
def test_the_configured_ceiling_goes_before_the_least_lifetime(most: int, seconds: int) -> None:
    assert find_lifetime({"cache-control": "max-age=600"}, most=most, now=NOW) == max(most, 0) == seconds
    assert find_lifetime({}, most=most, now=NOW) == seconds


def test_an_entry_lives_until_its_second() -> None:
    cache = ExpiringCache[str](2)
    cache.put("a", "x", expires_at=NOW + 5, now=NOW)
    assert cache.find("a", now=NOW + 4) == "x"
    assert cache.find("a", now=NOW + 5) is None
    assert cache.find("b", now=NOW) is None


def test_an_entry_that_has_passed_removes_what_was_kept() -> None:
    cache = ExpiringCache[str](2)
    cache.put("a", "x", expires_at=NOW + 5, now=NOW)
    cache.put("a", "y", expires_at=NOW, now=NOW)
    assert cache.find("a", now=NOW) is None


def test_a_full_cache_drops_the_expired_and_then_what_expires_next() -> None:
    cache = ExpiringCache[str](2)
    cache.put("soon", "x", expires_at=NOW + 5, now=NOW)
    cache.put("late", "x", expires_at=NOW + 50, now=NOW)
    cache.put("later", "x", expires_at=NOW + 60, now=NOW)
    assert [cache.find(key, now=NOW) for key in ("soon", "late", "later")] == [None, "x", "x"]
    cache.put("last", "x", expires_at=NOW + 90, now=NOW + 55)
    assert [cache.find(key, now=NOW + 55) for key in ("late", "later", "last")] == [None, "x", "x"]
    assert len(cache) == 2
