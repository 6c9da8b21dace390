"""The keys that tokens are verified with (RFC 7517)."""

from collections import Counter
from collections.abc import Iterator, Mapping

import orjson

from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer, Visitor
from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import SIGNATURE_ALGORITHMS, KeySet, find_algorithm, is_public_key, parse_key_set

_OK, _SERVER_ERRORS = 200, 500


async def examine_keys(visitor: Visitor, url: str) -> KeySet | None:
    """Read the key set; None when nothing can be verified with it."""
    answer = await visitor.get(url)
    if answer is None:
        return None
    faults = [*check_key_set(answer)]
    visitor.findings += faults
    if any(fault.code.name != "jwks-no-kid" for fault in faults):
        return None
    return parse_key_set(answer.body, algorithms=SIGNATURE_ALGORITHMS)


def check_key_set(answer: Answer) -> Iterator[Finding]:
    """Find what is wrong with the answer of a key set's URL."""
    status = f"status {answer.status}, {answer.media_type or 'no content type'}"
    if answer.status != _OK:
        yield finding("jwks-5xx" if answer.status >= _SERVER_ERRORS else "jwks-missing", url=answer.url, seen=status)
        return
    listed = (answer.document() or {}).get("keys")
    if not isinstance(listed, list):
        yield finding("jwks-not-json", url=answer.url, seen=status)
        return
    entries = [entry for entry in listed if isinstance(entry, Mapping)]
    if not entries:
        yield finding("jwks-empty", url=answer.url, seen="no keys")
        return
    faults = [fault for entry in entries for fault in check_key(entry, answer.url)]
    yield from faults
    if not faults and not _usable(entries):
        kinds = ", ".join(f"{entry.get('kty')} for {entry.get('use', 'anything')}" for entry in entries)
        yield finding("jwks-unusable", url=answer.url, seen=kinds)
    yield from check_kids(entries, answer.url)


def check_key(entry: Mapping[str, object], url: str) -> Iterator[Finding]:
    """Find what is wrong with one key."""
    named = f"kid {entry.get('kid')!r}"
    if not is_public_key(entry):
        yield finding("jwks-private", url=url, seen=f"{named} of type {entry.get('kty')} has secret members")
        return
    stated = entry.get("alg")
    fitting = _usable([{name: value for name, value in entry.items() if name != "alg"}])
    if stated is not None and fitting and find_algorithm(stated, SIGNATURE_ALGORITHMS) not in fitting:
        seen = f"{named} is of type {entry.get('kty')} and says alg {stated!r}"
        yield finding("jwks-algorithm", url=url, seen=seen, expected=" or ".join(sorted(fitting)))


def _usable(entries: list[Mapping[str, object]]) -> frozenset[str]:
    """Return the algorithms of which the keys verify signatures."""
    try:
        keys = parse_key_set(orjson.dumps({"keys": entries}), algorithms=SIGNATURE_ALGORITHMS).keys
    except InvalidKey:
        return frozenset()
    return frozenset(algorithm for key in keys for algorithm in key.algorithms)


def check_kids(entries: list[Mapping[str, object]], url: str) -> Iterator[Finding]:
    """Find signing keys without a name, or with the name of another."""
    signing = [entry for entry in entries if entry.get("use", "sig") == "sig"]
    if any(not isinstance(entry.get("kid"), str) for entry in signing):
        yield finding("jwks-no-kid", url=url, seen="a signing key has no kid")
    names = Counter(str(entry["kid"]) for entry in signing if "kid" in entry)
    for name in sorted(name for name, number in names.items() if number > 1):
        yield finding("jwks-duplicate-kid", url=url, seen=f"{names[name]} keys have kid {name!r}")
