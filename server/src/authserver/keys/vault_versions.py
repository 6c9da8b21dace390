"""Reads what Vault says of a Transit key."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authserver.encryption.vault import VaultError
from authserver.protocol.jose import InvalidKey, PublicKey, load_public_key

_NANOSECONDS = re.compile(r"(\.[0-9]{1,6})[0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitVersion:
    """One version of a Transit key.

    Attributes:
        made_at: Seconds since the epoch with their fraction, by Vault's clock.
    """

    key_name: str
    number: int
    made_at: float
    public: PublicKey

    @property
    def kid(self) -> str:
        """The name that it is published under."""
        return self.public.kid

    @property
    def created_at(self) -> int:
        """When Vault made it, in whole seconds."""
        return int(self.made_at)


def read_versions(key_name: str, data: dict[str, Any]) -> list[TransitVersion]:
    """Return the versions that Vault still has, newest first.

    Raises:
        VaultError: It is no key that signs ES256 or RS256, or Vault's answer is none.
    """
    entries, latest = data.get("keys"), data.get("latest_version")
    if not isinstance(entries, dict) or str(latest) not in entries:
        raise VaultError(f"vault answers nothing about the versions of the key {key_name}")
    try:
        versions = [_read_version(key_name, int(number), entry) for number, entry in entries.items()]
    except (KeyError, TypeError, ValueError) as exc:
        kind = data.get("type")
        raise VaultError(f"the key {key_name} in vault ({kind}) cannot sign ES256 or RS256: {exc}") from exc
    return sorted(versions, key=lambda version: version.number, reverse=True)


def _read_version(key_name: str, number: int, entry: dict[str, Any]) -> TransitVersion:
    try:
        public = load_public_key(entry["public_key"].encode("ascii"), kid=f"{key_name}-v{number}")
    except (InvalidKey, AttributeError, UnicodeEncodeError) as exc:
        raise ValueError(f"version {number}: not a usable public key") from exc
    made_at = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", entry["creation_time"])).timestamp()
    return TransitVersion(key_name=key_name, number=number, made_at=made_at, public=public)
