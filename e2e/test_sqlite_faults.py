"""SQLite without room to write, or with its file kept by somebody else: clean refusals, reads go on, nothing is lost."""

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from e2e.harness.installation import Installation, sqlite_database
from e2e.harness.load import Load
from e2e.harness.outage import under_load, wait_for
from e2e.harness.processes import Process
from e2e.harness.site import LOAD_ENVIRONMENT, Site, prepared_site

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

CLIENTS = 8
PAGE = 4096
# SQLite moves the write-ahead log into the file each 1000 pages, and then begins it anew.
LARGEST_LOG = 4 * 1000 * PAGE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("faults")
    with (
        sqlite_database(directory) as database,
        prepared_site(Installation(directory, database=database, extra=LOAD_ENVIRONMENT)) as site,
    ):
        yield site


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Process]:
    with site.installation.serve(piped=True) as process:
        yield process


def size_of(site: Site) -> int:
    return Path(site.inspection.path).stat().st_size


def write_ahead_log(site: Site) -> Path:
    return Path(f"{site.inspection.path}-wal")


async def check_reads_go_on(site: Site, load: Load) -> None:
    """Introspect a token while nothing can be written."""
    token = next(session.answers[-1]["access_token"] for session in load.sessions if session.answers)
    async with httpx2.AsyncClient(timeout=20, verify=False) as http:
        answer = await http.post(
            f"{site.client.issuer}/oauth/introspect", data={"token": token}, auth=site.resource_client
        )
    assert (answer.status_code, answer.json()["active"]) == (200, True)


async def test_a_full_disk_refuses_cleanly_and_space_is_used_again_when_there_is_some(
    site: Site, server: Process
) -> None:
    async with under_load(site, clients=CLIENTS) as (load, _):
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        # No file of the process may be written beyond its first page: neither a page into the log, wherever in it the
        # server is, nor one from the log into the file. A disk without room, as far as the server can see.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (PAGE, hard))
        try:
            await wait_for(lambda: load.refused > 4 * CLIENTS, what="clients are refused")
            await check_reads_go_on(site, load)
            answered = load.answered
            await wait_for(lambda: load.refused > 8 * CLIENTS, what="clients are refused still")
            assert load.answered == answered
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert write_ahead_log(site).stat().st_size < LARGEST_LOG


async def test_a_file_kept_by_another_process_refuses_cleanly_until_it_is_let_go(site: Site, server: Process) -> None:
    async with under_load(site, clients=CLIENTS) as (load, _):
        with closing(sqlite3.connect(site.inspection.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await wait_for(lambda: load.refused > CLIENTS, what="clients are refused")
            await check_reads_go_on(site, load)
            other.execute("ROLLBACK")


async def test_the_write_ahead_log_does_not_grow_without_end(site: Site, server: Process) -> None:
    before = size_of(site)
    async with under_load(site, clients=CLIENTS):
        await wait_for(lambda: size_of(site) > before, what="the log is moved into the file")
    assert write_ahead_log(site).stat().st_size < LARGEST_LOG
