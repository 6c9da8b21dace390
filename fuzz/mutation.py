"""Changes of an input by a fixed seed, for runs that are the same each time."""

import random
from collections.abc import Iterator, Sequence

MOST_STEPS = 4
NOISE = (
    *(b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"%00", b"%", b"%zz", b"%ff", b"%0d%0a", b"+", b"&", b"=", b";"),
    *(b"\r\n", b"\n", b'"', b"\\", b"'", b"<script>", b"{", b"[", b"null", b"true", b"-1", b"9223372036854775808"),
    *(b"1e999", b"\\ud800", b"\xe2\x80\xae", b"//", b"/..", b"@", b"#", b"?", b"*", b"javascript:", b"x" * 5000),
    *(b'{"a":' * 1500, b"[" * 1500, b"a=b&" * 300, b"\xef\xbb\xbf"),
)


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], *, seed: int, number: int) -> Iterator[bytes]:
    """Yield the seeds, and then as many changed ones."""
    yield from seeds
    chance = random.Random(seed)
    for _ in range(number):
        data = chance.choice(seeds)
        for _ in range(chance.randint(1, MOST_STEPS)):
            data = _change(data, chance, [*words, *NOISE], seeds)
        yield data


def _change(data: bytes, chance: random.Random, words: Sequence[bytes], seeds: Sequence[bytes]) -> bytes:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((0, 1, 2, 8, 40)))
    match chance.randrange(5):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:start] + data[start:end] * chance.randint(2, 40) + data[end:]
        case 2:
            return data[:start] + bytes(chance.randrange(256) for _ in range(end - start)) + data[end:]
        case 3:
            other = chance.choice(seeds)
            return data[:start] + other[chance.randint(0, len(other)) :]
        case _:
            return data[:start] + chance.choice(words) + data[end:]
