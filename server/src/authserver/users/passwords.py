"""Hashes of passwords: argon2id for new ones, bcrypt of older databases until their next sign-in.

Deriving a key takes tens of milliseconds by design. It runs in threads, at most one per core at once, so that a flood of
sign-ins leaves the event loop and the other endpoints alone.
"""

import asyncio
import os

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError

from authserver.protocol.errors import SlowDown

MAX_PASSWORD_BYTES = 1024

# Of those who sign in; at the usual cost the last of them waits about a second on two cores.
_MOST_WAITING = 64

_BCRYPT_BYTES = 72
_BCRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$")

# Of a password nobody knows, with the parameters below: what a sign-in that cannot succeed is checked against, so that
# it takes as long as one that can.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$iu4Xm+pFgdp53bWRWe98mA$IaaSq8eLwBcipa2sdjBxmXKsbHt0WeGDN7b3yQujPpw"


class Passwords:
    """Derives and compares, off the event loop."""

    def __init__(self, *, cores: int | None = None) -> None:
        """Take the number of derivations that may run at once; None is the number of cores this process may use."""
        self._argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._turns = asyncio.Semaphore(cores or len(os.sched_getaffinity(0)))
        self._being_verified = 0

    async def hash(self, password: str) -> str:
        """Return the argon2id hash to store, parameters in its prefix."""
        async with self._turns:
            return await asyncio.to_thread(self._argon2.hash, _encoded(password))

    async def verify(self, password: str, stored: str) -> bool:
        """Whether ``stored`` was made from this password.

        Raises:
            UnusableHash: It is no hash that we know; the time was taken all the same.
            SlowDown: Too many wait for their turn; nothing was looked at.
        """
        if self._being_verified >= _MOST_WAITING:
            raise SlowDown("too many people are signing in", reason="sign_ins_busy", retry_after=2)
        self._being_verified += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._verify, _encoded(password), stored)
        finally:
            self._being_verified -= 1

    async def verify_nobody(self, password: str) -> None:
        """Take the time of a check that fails."""
        await self.verify(password, _NOBODY)

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash that just verified should be made anew with today's scheme and parameters."""
        return stored.startswith(_BCRYPT_PREFIXES) or self._argon2.check_needs_rehash(stored)

    def _verify(self, password: bytes, stored: str) -> bool:
        try:
            if stored.startswith(_BCRYPT_PREFIXES):
                # bcrypt never saw more than this of a password, so a longer one is not the one that was chosen.
                matches = bcrypt.checkpw(password[:_BCRYPT_BYTES], stored.encode())
                return matches and len(password) <= _BCRYPT_BYTES
            return self._argon2.verify(stored, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, ValueError) as exc:
            self._verify(password, _NOBODY)
            raise UnusableHash from exc


class UnusableHash(Exception):  # noqa: N818  a state of the row, which becomes a refusal
    """What is stored for a user is no password hash."""


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
