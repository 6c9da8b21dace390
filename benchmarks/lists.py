"""Pages of the operators' lists, with a thousand clients, users and tokens and with a hundred thousand, in turn."""

import asyncio
import contextlib
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import asyncpg

from contestants import RESOURCE, SCOPE, Contestant, Installation
from figures import LIST_PAGE, Figures, Samples
from filling import client_id, fill_postgres, fill_sqlite, user_id
from load import Sample
from machine import LOAD_CORE, free_port, on_core
from measures import measure_page

SMALL, LARGE = 1_000, 100_000
_CONNECTIONS = 4
_KEY = secrets.token_hex(16)


def _pages(size: int) -> dict[str, str]:
    """Return what is asked for, by name."""
    deep = size * 9 // 10
    return {
        "clients": "/admin/clients?limit=50",
        "clients of a kind": "/admin/clients?limit=50&source=admin&status=active",
        "clients, deep": f"/admin/clients?limit=50&after={client_id(deep)}",
        "users": "/admin/users?limit=50",
        "users, deep": f"/admin/users?limit=50&after={user_id(size - deep)}",
        "tokens": "/admin/tokens?limit=50",
        "issuances by user": f"/admin/issuances?limit=50&user={user_id(0)}",
        "audit": "/admin/audit?limit=50",
        "audit by action": "/admin/audit?limit=50&action=user.login",
    }


def compare_lists(directory: Path, *, dsn: str | None, rounds: int, seconds: float) -> tuple[Samples, Figures]:
    """Measure each page on each database; return the samples, and how much more CPU time a page of the larger one takes."""
    samples: Samples = {}
    figures: Figures = {}
    for database in ("sqlite", *(("postgres",) if dsn else ())):
        with contextlib.ExitStack() as stack:
            small, large = (
                stack.enter_context(
                    _filled(directory / f"{database}-{size}", dsn if database == "postgres" else None, size)
                )
                for size in (SMALL, LARGE)
            )
            taken = _take(small, large, rounds=rounds, seconds=seconds)
        ratios = {
            page: statistics.median(b.cpu_us_per_request / a.cpu_us_per_request for a, b in pairs)
            for page, pairs in taken.items()
        }
        figures[f"{LIST_PAGE}, {database}"] = max(ratios.values())
        for page, pairs in taken.items():
            print(f"{database}, {page}: {ratios[page]:.2f}", file=sys.stderr)
            name = f"list page: {page}, {_CONNECTIONS} connections"
            rows = samples.setdefault(name, {})
            rows[f"{database}, 10^3 rows"] = [a for a, _ in pairs]
            rows[f"{database}, 10^5 rows"] = [b for _, b in pairs]
    return samples, figures


def _take(
    small: tuple[Contestant, int], large: tuple[Contestant, int], *, rounds: int, seconds: float
) -> dict[str, list[tuple[Sample, Sample]]]:
    taken: dict[str, list[tuple[Sample, Sample]]] = {}
    paths = tuple(_pages(size) for size in (SMALL, LARGE))
    with on_core(LOAD_CORE):
        for _ in range(rounds):
            for page in paths[0]:
                one, other = (
                    measure_page(
                        port, contestant.target.pids, path[page], _KEY, connections=_CONNECTIONS, seconds=seconds
                    )
                    for (contestant, port), path in zip((small, large), paths, strict=True)
                )
                taken.setdefault(page, []).append((one, other))
    return taken


@contextlib.contextmanager
def _filled(directory: Path, dsn: str | None, size: int) -> Iterator[tuple[Contestant, int]]:
    """Set a server up with so many rows; yield it and the port of its operators."""
    port = free_port()
    settings = {
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": f"127.0.0.1:{port}",
        "AUTHPLANE_ADMIN_API_KEY": _KEY,
    }
    if dsn is None:
        path = str(directory / "authserver.db")
        database = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": path}
        fill: Callable[..., object] = partial(fill_sqlite, path)
    else:
        name = f"lists_{size}"
        asyncio.run(_create(dsn, name))
        own = dsn.rpartition("/")[0] + f"/{name}"
        database = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": own}
        fill = partial(fill_postgres, own)
    installation = Installation(directory, database)
    fill(0, size, now=int(time.time()), uri=RESOURCE, scope=SCOPE)
    with installation.serve(directory.name, settings=settings) as contestant:
        yield contestant, port


async def _create(dsn: str, name: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
