import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from authserver.storage.migrate import Migration, embedded_migrations
from server.tests.cli.terminal import Command, Done
from server.tests.conftest import NOW, open_target

SQLITE = pytest.mark.parametrize("database_target", ["sqlite"], indirect=True)
LISTENERS = {"AUTHPLANE_SERVER_ADDRESS": "127.0.0.1:0", "AUTHPLANE_ADMIN_ENABLED": "false"}
SECRETS = {
    "AUTHPLANE_SESSION_SECRET": "a-session-secret-of-some-length",
    "AUTHPLANE_ADMIN_API_KEY": "an-admin-key-of-some-length",
}
NOBODY = "127.0.0.1:1"


def plain(text: str) -> str:
    return " ".join(text.split())


def lines(done: Done, state: str) -> list[str]:
    """Return what it says behind a state."""
    return [line[len(state) :].strip() for line in done.out.splitlines() if line.startswith(f"{state} ")]


def written(place: Path, text: str) -> str:
    path = place / "authserver.yaml"
    path.write_text(text)
    return str(path)


def a_damaged_database(place: Path) -> dict[str, str]:
    (place / "damaged.db").write_bytes(b"this is no database, and long enough to be seen as none" * 100)
    return {"AUTHPLANE_STORAGE_SQLITE_PATH": str(place / "damaged.db")}


def a_file_where_a_directory_should_be(place: Path) -> dict[str, str]:
    (place / "file").write_text("")
    return {"AUTHPLANE_STORAGE_SQLITE_PATH": str(place / "file" / "data" / "authserver.db")}


def keys_below_a_file(place: Path) -> dict[str, str]:
    (place / "file").write_text("")
    return {"AUTHPLANE_SIGNING_KEY_PATH": str(place / "file" / "keys")}


def a_key_without_its_id(place: Path) -> dict[str, str]:
    (place / "keys").mkdir(mode=0o700)
    (place / "keys" / "current.pem").write_text("no key either")
    return {"AUTHPLANE_SIGNING_KEY_PATH": str(place / "keys")}


def a_taken_port(_place: Path) -> dict[str, str]:
    return {"AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{TAKEN.getsockname()[1]}"}


def two_listeners_at_one_port(_place: Path) -> dict[str, str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return {
        "AUTHPLANE_SERVER_ADDRESS": f"127.0.0.1:{port}",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": f"localhost:{port}",
    }


TAKEN = socket.socket()
TAKEN.bind(("127.0.0.1", 0))
TAKEN.listen()

BROKEN: dict[str, Callable[[Path], dict[str, str]]] = {
    "production without secrets": lambda _: {"AUTHPLANE_SERVER_ISSUER": "https://auth.example.com"},
    "a weak admin key": lambda _: {"AUTHPLANE_ADMIN_ENABLED": "true", "AUTHPLANE_ADMIN_API_KEY": "changeme"},
    "a strict duration": lambda _: {"AUTHPLANE_SESSION_MAX_AGE": "24"},
    "a half configured feature": lambda _: {"AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE": "a,b"},
    "a directory for a database": lambda place: {"AUTHPLANE_STORAGE_SQLITE_PATH": str(place)},
    "no directory for a database": a_file_where_a_directory_should_be,
    "a place where no database can be": lambda _: {"AUTHPLANE_STORAGE_SQLITE_PATH": "/proc/nothing/authserver.db"},
    "a place where no keys can be": lambda _: {"AUTHPLANE_SIGNING_KEY_PATH": "/proc/nothing/keys"},
    "an address of another machine": lambda _: {"AUTHPLANE_SERVER_ADDRESS": "203.0.113.9:9000"},
    "a damaged database": a_damaged_database,
    "a PostgreSQL that is not there": lambda _: {
        "AUTHPLANE_STORAGE_DRIVER": "postgres",
        "AUTHPLANE_STORAGE_POSTGRES_DSN": f"postgresql://nobody:dsn-password@{NOBODY}/none",
    },
    "a malformed DSN": lambda _: {
        "AUTHPLANE_STORAGE_DRIVER": "postgres",
        "AUTHPLANE_STORAGE_POSTGRES_DSN": "postgresql://nobody:dsn-password@[::1/none",
    },
    "keys below a file": keys_below_a_file,
    "a key without its id": a_key_without_its_id,
    "a vault for keys that is not there": lambda _: {
        "AUTHPLANE_SIGNING_KEY_STORE": "vault_transit",
        "AUTHPLANE_VAULT_ADDR": f"http://{NOBODY}",
        "AUTHPLANE_VAULT_TOKEN": "vault-token",
    },
    "a vault for data that is not there": lambda _: {
        "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "vault_transit_encrypt",
        "AUTHPLANE_DATA_ENCRYPTION_VAULT_ADDRESS": f"http://{NOBODY}",
        "AUTHPLANE_DATA_ENCRYPTION_VAULT_KEY_NAME": "data",
        "AUTHPLANE_DATA_ENCRYPTION_VAULT_TOKEN_ENV": "SOME_TOKEN",
        "SOME_TOKEN": "vault-token",
    },
    "a secret of the audit webhook that is not set": lambda _: {
        "AUTHPLANE_AUDIT_WEBHOOK_URL": "https://siem.example.com/events",
        "AUTHPLANE_AUDIT_WEBHOOK_SECRET_REF": "CONNECTOR_SIEM_SECRET",
    },
    "a taken port": a_taken_port,
    "two listeners at one port": two_listeners_at_one_port,
}
FILES = {
    "no YAML": "server: [",
    "a placeholder": "server: {issuer: 'https://${HOST}'}",
    "a retired key": "resource_servers: []",
    "a wrong kind": "server: {max_connections: many}",
    "a resource with a broken URI": "resources: [{slug: notes, backend_kind: mint, uri: 'not a uri'}]",
    "a resource with an unknown client": (
        "resources: [{slug: notes, backend_kind: mint, uri: 'https://notes.example.com',"
        " policy: {runtime: {client_ids: [nobody]}}}]"
    ),
    "a provider with a secret and nothing that encrypts": (
        "broker_providers: [{slug: hub, display_name: Hub, protocol: oauth, config_data: {client_secret: in-clear}}]"
    ),
    "a provider whose secret is any variable": (
        "broker_providers: [{slug: hub, display_name: Hub, protocol: oauth, config_data: {client_secret_ref: PATH}}]"
    ),
}
VAULT = """
data_encryption: {driver: aes_master, aes_master: {key_env: MASTER}}
broker_providers: [{slug: Hub, display_name: Hub, protocol: oauth, config_data: {client_secret: in-clear}}]
resources:
  - slug: repos
    backend_kind: broker
    broker_provider_slug: PROVIDER
    policy: {connect: {allowed_return_urls: ['https://app.example']}}
"""


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_ends_a_start_is_found_in_the_same_words(
    terminal: Command, tmp_path: Path, broken: Callable[[Path], dict[str, str]]
) -> None:
    environment = LISTENERS | broken(tmp_path)
    serve = terminal("serve", **environment)
    check = terminal("check", **environment)
    assert (serve.code, check.code) == (1, 1)
    failures = lines(check, "fail")
    assert failures
    assert check.err == f"error: {len(failures)} check(s) failed\n"
    for failure in failures:
        assert failure.split(": ", 1)[1] in plain(serve.err)
    assert "dsn-password" not in check.out + check.err
    assert "vault-token" not in check.out + check.err


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_what_is_wrong_with_a_file_is_found_in_the_same_words(terminal: Command, tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    serve = terminal("serve", "--config", path, **LISTENERS)
    check = terminal("check", "--config", path, **LISTENERS)
    assert (serve.code, check.code) == (1, 1)
    (failure,) = lines(check, "fail")
    assert failure.split(": ", 1)[1] in plain(serve.err)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("nothing", "broker provider not found: nothing"),
        ("''", "a broker resource needs a provider: broker_provider_id is required"),
        ("hub, broker_provider_id: x", "broker_provider_id and broker_provider_slug exclude each other"),
    ],
)
def test_a_broker_resource_without_its_provider_is_found_in_the_same_words(
    terminal: Command, tmp_path: Path, named: str, told: str
) -> None:
    path = written(tmp_path, VAULT.replace("PROVIDER", named.replace(", ", "\n    ")))
    environment = LISTENERS | {"MASTER": "5e" * 32}
    check = terminal("check", "--config", path, **environment)
    (failure,) = lines(check, "fail")
    assert failure == f'resources: resources[0] (slug "repos"): {told}'
    serve = terminal("serve", "--config", path, **environment)
    assert (serve.code, check.code) == (1, 1)
    assert told in plain(serve.err)
    assert "in-clear" not in check.out + check.err + serve.out + serve.err


def test_a_broker_resource_may_name_a_provider_that_comes_with_it(terminal: Command, tmp_path: Path) -> None:
    path = written(tmp_path, VAULT.replace("PROVIDER", "hub"))
    check = terminal("check", "--config", path, **LISTENERS, MASTER="5e" * 32)
    assert lines(check, "fail") == []
    assert "broker_providers: configured=1 to_be_created=1" in lines(check, "ok")
    assert "resources: configured=1 to_be_created=1" in lines(check, "ok")


def run_sql(target: str, sql: str, *args: int | str) -> None:
    async def work() -> None:
        db = await open_target(target)
        await db.write(lambda tx: tx.execute(sql, *args))
        await db.close()

    asyncio.run(work())


@pytest.fixture
def second_migration(database_target: str) -> Iterator[Migration]:
    """A migration of whose row a test makes what it likes; the database is shared."""
    (second,) = [each for each in embedded_migrations() if each.version == 2]
    yield second
    run_sql(database_target, "DELETE FROM schema_migrations WHERE version = 2")
    row = (second.version, second.file, second.checksum, NOW)
    run_sql(database_target, "INSERT INTO schema_migrations VALUES ($1, $2, $3, $4)", *row)


@pytest.mark.usefixtures("second_migration")
def test_a_migration_of_another_build_is_found_in_the_same_words(command: Command, database_target: str) -> None:
    run_sql(database_target, "UPDATE schema_migrations SET checksum = 'another' WHERE version = 2")
    serve, check = command("serve", **LISTENERS), command("check", **LISTENERS)
    assert (serve.code, check.code) == (1, 1)
    (failure,) = lines(check, "fail")
    assert failure == "database: " + serve.err.removeprefix("error: ").strip()


@pytest.mark.usefixtures("second_migration")
def test_it_applies_no_migration(command: Command, database_target: str) -> None:
    run_sql(database_target, "DELETE FROM schema_migrations WHERE version = 2")
    for _ in range(2):
        done = command("check", **LISTENERS)
        assert done.code == 0
        (line,) = [line for line in lines(done, "warn") if line.startswith("database: ")]
        assert line.endswith(" pending=0002; to do: authserver migrate; a start applies them, too")


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
def test_keys_that_cannot_be_unsealed_are_found_in_the_same_words(command: Command) -> None:
    sealed = LISTENERS | {
        "AUTHPLANE_SIGNING_KEY_STORE": "postgres_key",
        "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "aes_master",
        "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV": "MASTER_KEY",
    }
    kid = command("admin", "key", "list", MASTER_KEY="ab" * 32, **sealed).fields["kid"]
    good = command("check", MASTER_KEY="ab" * 32, **sealed)
    assert f"keys: postgres_key: kid={kid} alg=ES256 previous=0" in lines(good, "ok")
    serve, check = command("serve", MASTER_KEY="cd" * 32, **sealed), command("check", MASTER_KEY="cd" * 32, **sealed)
    (failure,) = lines(check, "fail")
    assert failure == "keys: " + serve.err.removeprefix("error: ").strip()
    assert "cd" * 32 not in check.out


def test_a_good_installation_is_ok(command: Command) -> None:
    done = command("check", **LISTENERS, **SECRETS)
    assert (done.code, done.err) == (0, "")
    assert lines(done, "fail") == []
    assert any(line.startswith("database: ") and line.endswith(" pending=none") for line in lines(done, "ok"))
    assert "secrets: set=session.secret" in lines(done, "ok")
    assert "keys: keyfile: there is no signing key yet; to do: nothing, the first start makes one" in lines(
        done, "warn"
    )
    assert done.out.splitlines()[-1].endswith(" fail=0")


def test_the_key_in_use_is_named(command: Command) -> None:
    kid = command("admin", "key", "list").fields["kid"]
    assert f"keys: keyfile: kid={kid} alg=ES256 previous=0" in lines(command("check", **LISTENERS), "ok")


def test_it_leaves_nothing_behind(terminal: Command, tmp_path: Path) -> None:
    done = terminal("check", **LISTENERS)
    assert done.code == 0
    assert list(tmp_path.iterdir()) == []
    (line,) = [line for line in lines(done, "warn") if line.startswith("database: ")]
    assert line.startswith("database: data/authserver.db: applied=0 pending=0001,0002,")


@SQLITE
def test_what_is_open_to_others_is_named(command: Command, tmp_path: Path) -> None:
    command("admin", "key", "list")
    path = written(tmp_path, "session: {secret: a-session-secret-of-some-length}")
    (tmp_path / "authserver.yaml").chmod(0o644)
    (tmp_path / "keys" / "current.pem").chmod(0o640)
    (tmp_path / "authserver.db").chmod(0o604)
    warned = [line for line in lines(command("check", "--config", path, **LISTENERS), "warn") if line[:6] == "permis"]
    assert [line.split(";")[1].split()[2:] for line in warned] == [
        ["chmod", "o-rwx", path],
        ["chmod", "o-rwx", str(tmp_path / "authserver.db")],
        ["chmod", "600", str(tmp_path / "keys" / "current.pem")],
    ]


@SQLITE
def test_a_configuration_that_is_not_there_is_noticed(command: Command, tmp_path: Path) -> None:
    done = command("check", "--config", str(tmp_path / "none.yaml"), **LISTENERS)
    assert done.code == 0
    assert any("there is no file" in line for line in lines(done, "warn"))


@SQLITE
def test_the_mode_in_force_is_looked_at(command: Command) -> None:
    def says_open() -> bool:
        return any(
            "dynamic client registration is open" in line for line in lines(command("check", **LISTENERS), "warn")
        )

    assert says_open()
    command("admin", "dcr", "set", "--mode", "admin_only")
    assert not says_open()


@SQLITE
def test_a_default_resource_that_is_none_is_noticed(command: Command) -> None:
    done = command("check", AUTHPLANE_OAUTH_DEFAULT_RESOURCE="nothing", **LISTENERS)
    assert any("oauth.default_resource names no Mint resource slug=nothing" in line for line in lines(done, "warn"))


@SQLITE
def test_receivers_of_the_audit_trail_are_connected_to_when_that_is_asked(command: Command) -> None:
    siem = {
        "AUTHPLANE_AUDIT_OTLP_URL": f"http://{NOBODY}/v1/logs",
        "AUTHPLANE_AUDIT_OTLP_ALLOW_PRIVATE_ADDRESSES": "true",
    }
    assert "audit: otlp: configured, not connected to" in lines(command("check", **LISTENERS, **siem), "ok")
    done = command("check", "--connect", **LISTENERS, **siem)
    assert done.code == 1
    (failure,) = lines(done, "fail")
    assert failure.startswith("audit: otlp: audit.otlp.url cannot be reached: connect; to do: ")


@SQLITE
def test_as_json(command: Command) -> None:
    done = command("check", "--json", **LISTENERS, **SECRETS)
    found = json.loads(done.out)
    assert found["ok"] is True
    assert {"state": "ok", "check": "secrets", "detail": "set=session.secret", "remedy": ""} in found["checks"]
    broken = command("check", "--json", **LISTENERS, AUTHPLANE_SERVER_ISSUER="https://auth.example.com")
    assert broken.code == 1
    assert json.loads(broken.out)["ok"] is False


@SQLITE
def test_no_secret_is_printed(command: Command) -> None:
    done = command("check", **LISTENERS, **SECRETS, AUTHPLANE_CLIENT_SECRET_PEPPER="a-pepper-of-some-length")
    for secret in (*SECRETS.values(), "a-pepper-of-some-length"):
        assert secret not in done.out + done.err
    assert os.environ.get("AUTHPLANE_CLIENT_SECRET_PEPPER") is None
