"""User codes of the device authorization grant (RFC 8628 §6.1): short enough to type, and never a word."""

import re
import secrets
import unicodedata

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Consonants alone: no code spells a word, and no letter is taken for a digit."""

LENGTH = 8
LONGEST_ENTRY = 64
"""The most characters that are looked at of what somebody typed."""

_CODE = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")


def new_user_code() -> str:
    """Return one of 20⁸ codes, 34 random bits: eight letters as they are stored."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def parse_user_code(entered: str) -> str | None:
    """Return the code that somebody typed, or None when it is none.

    Case does not count; nor do spaces, dashes, dots and whatever else a keyboard puts between letters.
    """
    if len(entered) > LONGEST_ENTRY:
        return None
    # Separators, punctuation and what cannot be seen (Unicode's Z, P and C).
    letters = "".join(c for c in entered if unicodedata.category(c)[0] not in "ZPC")
    # Upper case makes some foreign letters into ours, such as the long s (U+017F).
    code = letters.upper() if letters.isascii() else ""
    return code if _CODE.fullmatch(code) else None


def spell_user_code(user_code: str) -> str:
    """Return a code as people read it: two groups of four."""
    return f"{user_code[:4]}-{user_code[4:]}"
