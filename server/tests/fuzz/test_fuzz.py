"""The corpus of ``make fuzz``, and as many changed inputs as fit into some seconds: the same ones each time."""

import asyncio

import pytest

from fuzz.mutation import mutations
from fuzz.run import NAMES, seeds_of, words
from fuzz.targets import TARGETS
from fuzz.world import World

CHANGED = {"authorize": 1500, "token": 1200, "register": 1500, "document": 400, "parsers": 3000}


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


def test_every_target_has_a_corpus_and_every_word_is_one() -> None:
    assert set(TARGETS) == set(NAMES)
    assert all(len(seeds_of(target)) > 10 for target in NAMES)
    assert b"{client}" in words()
    assert b"\xff" in words()
