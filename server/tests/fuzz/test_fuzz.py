"""The corpus of ``make fuzz``, and as many changed inputs as fit into some seconds: the same ones each time."""

import asyncio
from collections import Counter

import pytest

from fuzz.mutation import mutations
from fuzz.run import NAMES, seeds_of, words
from fuzz.targets import TARGETS
from fuzz.world import Answer, Sent, World

CHANGED = {
    "authorize": 1500,
    "token": 1200,
    "register": 1500,
    "document": 400,
    "proof": 800,
    "assertion": 800,
    "id_jag": 800,
    "device": 400,
    "parsers": 3000,
}


@pytest.mark.parametrize("target", NAMES)
def test_no_input_of_the_corpus_nor_its_changes_break_a_property(target: str) -> None:
    async def run() -> int:
        number = 0
        async with World() as world:
            for data in mutations(seeds_of(target), words(), seed=3, number=CHANGED[target]):
                number += 1
                try:
                    await TARGETS[target](world, data)
                except Exception as exc:
                    raise AssertionError(f"input {number} of {target}: {data!r}") from exc
        return number

    assert asyncio.run(run()) > CHANGED[target] + 10


@pytest.mark.parametrize("target", ["token", "proof", "assertion", "id_jag", "device"])
def test_the_corpus_breaks_no_property_on_postgres_either(target: str, postgres_dsn: str) -> None:
    async def run() -> None:
        async with World(postgres=postgres_dsn) as world:
            for data in mutations(seeds_of(target), words(), seed=5, number=50):
                try:
                    await TARGETS[target](world, data)
                except Exception as exc:
                    raise AssertionError(f"input of {target}: {data!r}") from exc

    asyncio.run(run())


async def statuses(target: str) -> Counter[int]:
    """Return how often the inputs of a target's corpus are answered with each status."""
    seen = Counter[int]()
    async with World() as world:
        send = world.send

        async def counting(sent: Sent) -> Answer:
            answer = await send(sent)
            seen[answer.status] += 1
            return answer

        world.send = counting  # type: ignore[method-assign]  # counts, and hands on
        for data in seeds_of(target):
            await TARGETS[target](world, data)
    return seen


@pytest.mark.parametrize("target", ["proof", "assertion", "id_jag", "device"])
def test_of_what_is_signed_or_entered_some_is_taken_and_most_is_refused(target: str) -> None:
    seen = asyncio.run(statuses(target))
    assert seen[200] >= 3
    assert sum(number for status, number in seen.items() if status >= 400) >= 10


def test_every_target_has_a_corpus_and_every_word_is_one() -> None:
    assert set(TARGETS) == set(NAMES)
    assert all(len(seeds_of(target)) > 10 for target in NAMES)
    assert b"{client}" in words()
    assert b"\xff" in words()
