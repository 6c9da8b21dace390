"""Identifiers and opaque secrets."""

import hashlib
import re
import subprocess
import sys
import uuid

from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.identifiers import (
    base64url,
    hash_token,
    new_id,
    new_public_id,
    new_secret,
    parse_id,
    spell_id,
    token_digest,
)

milliseconds = st.integers(0, 2**48 - 1)


@given(milliseconds)
def test_an_identifier_has_the_layout_of_a_uuid_version_7(now_ms: int) -> None:
    identifier = uuid.UUID(bytes=new_id(now_ms))
    assert identifier.version == 7
    assert identifier.variant == uuid.RFC_4122
    assert identifier.int >> 80 == now_ms


@given(milliseconds, milliseconds)
def test_identifiers_are_in_the_order_of_time(first: int, second: int) -> None:
    if first < second:
        assert new_id(first) < new_id(second)


def test_identifiers_of_one_millisecond_differ() -> None:
    assert len({new_id(1) for _ in range(1000)}) == 1000


@given(milliseconds)
def test_a_spelled_identifier_is_22_characters_and_parses_to_itself(now_ms: int) -> None:
    identifier = new_id(now_ms)
    spelled = spell_id(identifier)
    assert re.fullmatch("[A-Za-z0-9_-]{22}", spelled)
    assert parse_id(spelled) == identifier


@given(st.text(max_size=30) | st.text(min_size=22, max_size=22) | st.text("AZaz09-_=. é", min_size=22, max_size=22))
def test_any_text_spells_an_identifier_or_none(text: str) -> None:
    identifier = parse_id(text)
    assert identifier is None or len(identifier) == 16


def test_public_identifiers_are_22_characters_and_never_look_like_an_option() -> None:
    identifiers = {new_public_id() for _ in range(1000)}
    assert len(identifiers) == 1000
    assert all(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]{21}", identifier) for identifier in identifiers)


def test_secrets_are_43_characters_and_differ() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch("[A-Za-z0-9_-]{43}", secret) for secret in secrets)


def test_tokens_are_hashed_with_sha_256() -> None:
    digest = hashlib.sha256(b"token").digest()
    assert hash_token("token") == digest
    assert token_digest("token") == digest[:16]


@given(st.text(st.characters()))
def test_any_string_can_be_hashed(token: str) -> None:
    assert len(hash_token(token)) == 32
    assert len(token_digest(token)) == 16


def test_base64url_is_unpadded() -> None:
    assert base64url(b"\xfb\xff") == "-_8"


def test_a_forked_process_makes_secrets_of_its_own() -> None:
    program = """
import os, sys
from authserver.protocol.identifiers import new_secret
new_secret()
for _ in range(3):
    if os.fork() == 0:
        break
os.write(1, new_secret().encode() + b"\\n")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    # The pipe ends when the last of the four processes has.
    assert len(set(done.stdout.split())) == 4
