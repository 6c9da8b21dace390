"""Fixtures of the end-to-end tests: real processes on both databases, a person, the demo MCP server."""

from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import httpcore2
import pytest

from e2e.harness.identity import WAYS, Identity, identity_by
from e2e.harness.installation import TWO_WORKERS, Account, Demo, Installation, postgres_database, sqlite_database
from e2e.harness.metadata_document import Authority
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port
from e2e.harness.scene import Scene
from throwaway_postgres import throwaway_postgres


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Have all HTTP clients of this process share one context of TLS.

    Each would read the system's certificates, which takes 50 ms of the processor, and hardly any speaks TLS.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", cache(httpcore2.default_ssl_context))
        yield


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """A PostgreSQL server for this run."""
    with throwaway_postgres() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who certifies the web servers of clients."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def admin() -> str:
    """Where operators reach the servers of the module, if its ``server_environment`` has them listen."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def server_environment(authority: Authority) -> dict[str, str]:
    """What every server of the module is started with beside its database: clients live on this machine."""
    return {"AUTHPLANE_CIMD_ALLOW_PRIVATE_ADDRESSES": "true", "SSL_CERT_FILE": str(authority.bundle)}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server_environment: dict[str, str]
) -> Iterator[Installation]:
    """An installation on each database, not running; asked for as ``two workers``, one of two workers on PostgreSQL."""
    directory: Path = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    database = (
        sqlite_database(directory)
        if request.param == "sqlite"
        else postgres_database(request.getfixturevalue("postgres_dsn"))
    )
    with database as named:
        workers = 2 if request.param == TWO_WORKERS else 1
        yield Installation(directory, database=named, extra=server_environment, workers=workers)


@pytest.fixture(scope="module")
def server(installation: Installation) -> Iterator[Process]:
    """The installation, running."""
    with installation.serve() as process:
        yield process


@pytest.fixture(scope="module")
def demo(installation: Installation, operator: None, server: Process) -> Iterator[Demo]:
    """The demo MCP server, registered and running."""
    demo = installation.start_demo()
    with demo.process:
        yield demo


@pytest.fixture(scope="module")
def account(installation: Installation, server: Process) -> Account:
    """A user."""
    return installation.create_user()


@pytest.fixture
def person(installation: Installation, account: Account) -> Iterator[Person]:
    """The user, at a browser that remembers nothing."""
    person = Person(account, issuer=installation.issuer)
    yield person
    person.close()


@pytest.fixture(scope="module")
def operator(installation: Installation) -> Iterator[None]:
    """Somebody who gives many commands."""
    with installation.operator():
        yield


@pytest.fixture
async def scene(installation: Installation, operator: None, server: Process, account: Account) -> AsyncIterator[Scene]:
    """A scene of the scenarios; it ends with the check that nothing secret was written down (C1)."""
    scene = Scene(installation, account)
    yield scene
    scene.alice.close()
    await scene.check_discretion()


@pytest.fixture(params=WAYS)
def identity(request: pytest.FixtureRequest, installation: Installation, authority: Authority) -> Iterator[Identity]:
    """A public client of each kind, called back on loopback."""
    with identity_by(request.param, installation=installation, authority=authority) as identity:
        yield identity
