"""``python -m fuzz.run [TARGET ...] [--seconds N] [--postgres]``: look for inputs that break a property, guided by coverage.

Each target runs in a process of its own. What is found is written to ``artifacts/fuzz`` and printed; the exit code is 1.
``python -m fuzz.run TARGET FILE ...`` runs inputs again.
"""

import argparse
import asyncio
import secrets
import subprocess
import sys
import time
from pathlib import Path

from fuzz.mutation import mutations

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from throwaway_postgres import throwaway_postgres  # noqa: E402  found by the line above

CORPUS = ROOT / "fuzz" / "corpus"
FOUND = ROOT / "artifacts" / "fuzz"
NAMES = ("authorize", "token", "register", "document", "proof", "assertion", "id_jag", "device", "parsers")
INPUTS_OF_A_WORLD = 5000
MOST_MEGABYTES = 2048
THROW_AWAY = "throw-away"


def seeds_of(target: str) -> list[bytes]:
    """Return the checked-in inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def words() -> list[bytes]:
    """Return the words of the dictionary."""
    lines = (ROOT / "fuzz" / "dictionary.txt").read_text().splitlines()
    return [line[1:-1].encode().decode("unicode_escape").encode("latin-1") for line in lines if line.startswith('"')]


def _fuzz(target: str, seconds: int, postgres: str) -> None:
    try:
        import atheris  # noqa: PLC0415  only this process needs it
    except ImportError:
        print("atheris is not installed: going on without looking at coverage")
        _fuzz_blindly(target, seconds, postgres)
        return
    with atheris.instrument_imports(include=["authserver"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415
        from fuzz.world import World  # noqa: PLC0415

    loop = asyncio.new_event_loop()
    world, used = World(postgres=postgres), 0
    loop.run_until_complete(world.__aenter__())

    def one(data: bytes) -> None:
        nonlocal world, used
        used += 1
        if used % INPUTS_OF_A_WORLD == 0:  # what was registered is forgotten: memory is not what is looked at here
            loop.run_until_complete(world.__aexit__())
            world = World(postgres=postgres)
            loop.run_until_complete(world.__aenter__())
        loop.run_until_complete(TARGETS[target](world, data))

    grown = FOUND / "corpus" / target
    grown.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=8192",
        f"-rss_limit_mb={MOST_MEGABYTES}",
        "-timeout=20",
        f"-dict={ROOT / 'fuzz' / 'dictionary.txt'}",
        f"-artifact_prefix={FOUND / target}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([f"fuzz {target}", *options, str(grown), str(CORPUS / target)], one)
    atheris.Fuzz()


def _fuzz_blindly(target: str, seconds: int, postgres: str) -> None:
    from fuzz.targets import TARGETS  # noqa: PLC0415  as above
    from fuzz.world import World  # noqa: PLC0415

    async def run(seed: int) -> None:
        async with World(postgres=postgres) as world:
            for data in mutations(seeds_of(target), words(), seed=seed, number=INPUTS_OF_A_WORLD):
                try:
                    await TARGETS[target](world, data)
                except Exception:
                    (FOUND / f"{target}-{seed}").write_bytes(data)
                    raise

    FOUND.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        asyncio.run(run(secrets.randbits(32)))


def _replay(target: str, files: list[str], postgres: str) -> None:
    from fuzz.targets import TARGETS  # noqa: PLC0415  as above
    from fuzz.world import World  # noqa: PLC0415

    async def run(data: bytes) -> None:
        async with World(postgres=postgres) as world:
            await TARGETS[target](world, data)

    for file in files:
        asyncio.run(run(Path(file).read_bytes()))
        print(f"{file}: holds")


def main() -> int:
    """Run what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all but the last")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument(
        "--postgres",
        nargs="?",
        const=THROW_AWAY,
        default="",
        metavar="DSN",
        help="a server; without DSN one is started",
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.postgres != THROW_AWAY:
        return _run(given)
    with throwaway_postgres() as given.postgres:
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    if given.targets and given.targets[1:] and Path(given.targets[1]).exists():
        _replay(given.targets[0], given.targets[1:], given.postgres)
        return 0
    if given.here:
        _fuzz(given.targets[0], given.seconds, given.postgres)
        return 0
    failed = []
    for target in given.targets or NAMES[:-1]:
        print(f"== {target}: {given.seconds} s", flush=True)
        command = [sys.executable, "-m", "fuzz.run", "--here", target, "--seconds", str(given.seconds)]
        if given.postgres:
            command += ["--postgres", given.postgres]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(target)
    print(f"found something in: {', '.join(failed)}; see {FOUND.relative_to(ROOT)}" if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
