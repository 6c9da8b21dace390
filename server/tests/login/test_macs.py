import pytest

from authserver.login.macs import Mac


def test_a_code_is_valid_for_its_text_purpose_and_secret_alone() -> None:
    code = Mac(b"secret", "session").sign("text")
    assert len(code) == 43
    assert Mac(b"secret", "session").is_valid("text", code)
    assert not Mac(b"secret", "session").is_valid("texts", code)
    assert not Mac(b"secret", "login_csrf").is_valid("text", code)
    assert not Mac(b"another", "session").is_valid("text", code)


@pytest.mark.parametrize("code", ["", "ü", "\udcff", "a" * 43])
def test_anything_may_be_offered_as_code(code: str) -> None:
    assert not Mac(b"secret", "session").is_valid("\udcff", code)


def test_without_a_secret_nothing_is_signed() -> None:
    with pytest.raises(ValueError, match="empty"):
        Mac(b"", "session")
