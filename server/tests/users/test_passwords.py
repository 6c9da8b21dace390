import asyncio
import threading

import bcrypt
import pytest
from argon2 import PasswordHasher

from authserver.users.passwords import Passwords, UnusableHash

pytestmark = pytest.mark.anyio


async def test_a_password_verifies_against_its_hash_only() -> None:
    passwords = Passwords()
    stored = await passwords.hash("correct horse")

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("Correct horse", stored)
    assert not passwords.is_outdated(stored)


async def test_a_bcrypt_hash_verifies_and_is_outdated() -> None:
    passwords = Passwords()
    stored = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()

    assert await passwords.verify("correct horse", stored)
    assert not await passwords.verify("wrong", stored)
    assert passwords.is_outdated(stored)


async def test_bcrypt_does_not_accept_a_password_for_its_first_72_bytes() -> None:
    passwords = Passwords()
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()

    assert await passwords.verify("x" * 72, stored)
    assert not await passwords.verify("x" * 73, stored)


async def test_weaker_parameters_are_outdated() -> None:
    assert Passwords().is_outdated(PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash("x"))


@pytest.mark.parametrize("stored", ["", "plain", "$argon2id$broken", "$2b$broken", "$1$md5"])
async def test_what_is_no_hash_says_so(stored: str) -> None:
    with pytest.raises(UnusableHash):
        await Passwords().verify("x", stored)


async def test_an_unpaired_surrogate_is_just_another_password() -> None:
    passwords = Passwords()

    assert await passwords.verify("\ud800", await passwords.hash("\ud800"))


async def test_no_more_derivations_run_at_once_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(cores=2)
    running, most, lock = 0, 0, threading.Lock()
    derive = passwords._argon2.hash

    def counted(password: bytes) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return derive(password)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(passwords, "_argon2", type("Counted", (), {"hash": staticmethod(counted)}))
    await asyncio.gather(*(passwords.hash("x") for _ in range(8)))

    assert most <= 2


async def test_the_event_loop_stays_free_while_passwords_are_checked() -> None:
    passwords = Passwords(cores=1)
    check = asyncio.create_task(passwords.verify_nobody("x"))
    turns = 0
    while not check.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 5
