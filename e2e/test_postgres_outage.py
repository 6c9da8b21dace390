"""PostgreSQL stopped, restarted, frozen and cut off under load: clean refusals, nothing lost, recovery by itself."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from e2e.harness.installation import Installation, postgres_database
from e2e.harness.load import Load
from e2e.harness.outage import Probes, under_load, wait_for
from e2e.harness.processes import Process, processes
from e2e.harness.site import LOAD_ENVIRONMENT, Site, prepared_site
from throwaway_postgres import Cluster, throwaway_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

CLIENTS = 8
CONNECTIONS = 5


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server that may suffer."""
    with throwaway_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def site(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("outage")
    extra = LOAD_ENVIRONMENT | {
        "AUTHPLANE_STORAGE_POSTGRES_MAX_CONNS": str(CONNECTIONS * request.param),
        "AUTHPLANE_STORAGE_POSTGRES_MIN_CONNS": "1",
        # Otherwise an outage that meets the look-up of a session ends it, and the load has nobody to sign in again.
        "AUTHPLANE_SESSION_FAIL_CLOSED": "false",
    }
    with (
        postgres_database(cluster.dsn) as database,
        prepared_site(Installation(directory, database=database, extra=extra, workers=request.param)) as site,
    ):
        yield site


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Process]:
    with site.installation.serve() as process:
        yield process


async def is_noticed(load: Load, probes: Probes) -> None:
    """Wait until clients are refused and health says why."""
    await wait_for(lambda: load.refused >= CLIENTS and probes.health[-1:] == [503], what="the outage is noticed")


async def stop(cluster: Cluster, load: Load, probes: Probes, *, how: str) -> None:
    await asyncio.to_thread(cluster.stop, how)
    try:
        await is_noticed(load, probes)
    finally:
        await asyncio.to_thread(cluster.start)


async def stop_immediately(cluster: Cluster, load: Load, probes: Probes) -> None:
    await stop(cluster, load, probes, how="immediate")


async def stop_fast(cluster: Cluster, load: Load, probes: Probes) -> None:
    await stop(cluster, load, probes, how="fast")


def has_answered_more(load: Load, than: int) -> bool:
    return load.answered > than


async def cut_connections(cluster: Cluster, load: Load, _probes: Probes) -> None:
    """Cut all connections again and again while clients are served in between."""
    for _ in range(20):
        answered = load.answered
        connection = await asyncpg.connect(cluster.dsn)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'authserver'"
        )
        await connection.close()
        await wait_for(partial(has_answered_more, load, answered), what="clients are served")


async def freeze(cluster: Cluster, load: Load, probes: Probes) -> None:
    """Let the server live and do nothing."""
    frozen = [cluster.pid, *(pid for pid, parent in processes() if parent == cluster.pid)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        await is_noticed(load, probes)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


async def count_connections(cluster: Cluster) -> tuple[int, int]:
    """Return how many connections the server has, and how many of them are inside a transaction."""
    connection = await asyncpg.connect(cluster.dsn)
    row = await connection.fetchrow(
        "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in transaction%') FROM pg_stat_activity"
        " WHERE application_name = 'authserver'"
    )
    await connection.close()
    return row[0], row[1]


@pytest.mark.parametrize("fault", [stop_immediately, stop_fast, cut_connections, freeze])
async def test_an_outage_under_load_refuses_cleanly_and_ends_by_itself(
    cluster: Cluster, site: Site, server: Process, fault: Callable[[Cluster, Load, Probes], Awaitable[None]]
) -> None:
    async with under_load(site, clients=CLIENTS) as (load, probes):
        await fault(cluster, load, probes)
    workers = int(site.installation.environment["AUTHPLANE_SERVER_WORKERS"])
    connections, in_transaction = await count_connections(cluster)
    # Those that read, and the one of each worker that writes.
    assert connections <= (CONNECTIONS + 1) * workers
    assert in_transaction == 0
