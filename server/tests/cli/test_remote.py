import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from authserver.admin.api.table import TABLE
from authserver.cli.admin.local import endpoints_below
from server.tests.cli.serving import API_KEY, admin_listener, answering
from server.tests.cli.terminal import Command, audited
from server.tests.fakes.certificates import tls_contexts

CREATE = ("admin", "client", "create", "--name", "Ada", "--redirect-uris", "http://127.0.0.1/cb")
LIST = ("admin", "client", "list")


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[str]:
    with admin_listener(environment) as url:
        yield url


def test_a_server_does_what_it_is_told_and_its_trail_names_who_asked(
    terminal: Command, server: str, database_target: str, tmp_path: Path
) -> None:
    named = ("--server", server, "--api-key", API_KEY)
    done = terminal(*CREATE, *named)
    assert (done.code, done.err) == (0, "")
    client_id = done.fields["id"]
    assert terminal(*LIST, *named).out == f"id={client_id} name=Ada status=active source=admin\n"
    (row,) = audited(database_target)
    assert (row.action, row.actor_id, row.client_id, row.ip) == (
        "client.created_admin",
        "admin",
        client_id,
        "127.0.0.1",
    )
    # Nothing was opened here.
    assert list(tmp_path.glob("data*")) == []


def test_json_is_what_the_endpoint_answers_indented_by_two(terminal: Command, server: str) -> None:
    settings = {"AUTHPLANE_ADMIN_URL": server, "AUTHPLANE_ADMIN_API_KEY": API_KEY}
    done = terminal(*CREATE, "--json", **settings)
    created = json.loads(done.out)
    assert done.out == json.dumps(created, indent=2) + "\n"
    assert (created["client_name"], created["registration_source"]) == ("Ada", "admin")
    (listed,) = json.loads(terminal(*LIST, "--json", **settings).out)
    assert listed["id"] == created["client_id"]
    done = terminal("admin", "client", "delete", "--id", created["client_id"], "--json", **settings)
    assert (done.code, done.out) == (0, "")
    assert terminal(*LIST, "--json", **settings).out == "[]\n"


def test_the_options_stand_anywhere_on_the_line(terminal: Command, server: str) -> None:
    words = ["admin", "dcr", "get"]
    for place in range(len(words) + 1):
        line = [*words[:place], "--server", server, "--api-key", API_KEY, *words[place:]]
        assert terminal(*line).out == "DCR mode: open\n"


def test_the_line_beats_the_environment_and_an_empty_server_is_none(
    terminal: Command, server: str, environment: dict[str, str]
) -> None:
    wrong = {"AUTHPLANE_ADMIN_URL": "http://127.0.0.1:1", "AUTHPLANE_ADMIN_API_KEY": "wrong"}
    assert terminal("admin", "dcr", "get", "--server", server, "--api-key", API_KEY, **wrong).code == 0
    assert terminal("admin", "--server", server, "--api-key", API_KEY, "dcr", "get", **wrong).code == 0
    assert terminal("admin", "dcr", "get", "--server=", **wrong, **environment).out == "DCR mode: open\n"


def test_the_key_comes_from_a_file_or_standard_input(terminal: Command, server: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{API_KEY}\nnot this\n")
    get = ("admin", "dcr", "get", "--server", server)
    assert terminal(*get, "--api-key-file", str(file)).code == 0
    assert terminal(*get, "--api-key-file", "-", stdin=f"{API_KEY}\n").code == 0
    create = ("admin", "user", "create", "--email", "ada@example.com", "--password-stdin", "--server", server)
    assert terminal(*create, "--api-key-file", "-", stdin=f"{API_KEY}\ncorrect horse battery\n").code == 0


def test_a_refusal_is_told_in_the_words_of_the_endpoint(terminal: Command, server: str) -> None:
    settings = {"AUTHPLANE_ADMIN_URL": server, "AUTHPLANE_ADMIN_API_KEY": API_KEY}
    for client_id in ("nobody", "..", "https://client.example/metadata?a=b#c"):
        done = terminal("admin", "client", "get", "--id", client_id, **settings)
        assert (done.code, done.out, done.err) == (1, "", f"error: client not found: {client_id}\n")
    done = terminal(*LIST, **settings | {"AUTHPLANE_ADMIN_API_KEY": "wrong"})
    assert (done.code, done.out, done.err) == (1, "", "error: invalid API key\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--server", "127.0.0.1:9001"), "--server must be an http or https URL without query"),
        (("--server", "https://127.0.0.1?a"), "--server must be an http or https URL without query"),
        (("--server", "https://ada:secret@127.0.0.1"), "--server must not contain a user name or password"),
        (("--server", "http://127.0.0.1:1"), "--api-key-file, --api-key or AUTHPLANE_ADMIN_API_KEY is required"),
        (("--server", "http://127.0.0.1:1", "--api-key", "é"), "the API key is empty, or holds characters that no key"),
        (("--server", "http://127.0.0.1:1", "--api-key-file", "/nowhere"), "--api-key-file cannot be read: No such"),
        (("--server", "http://127.0.0.1:1", "--api-key-file", "-", "--api-key", "k"), "exclude each other"),
        (("--server", "http://127.0.0.1:1", "--config", "c.yaml"), "exclude each other"),
        (("--api-key", "k"), "--api-key is of use with --server only"),
    ],
)
def test_what_names_no_server_is_refused(terminal: Command, words: tuple[str, ...], sentence: str) -> None:
    done = terminal(*LIST, *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert sentence in done.err


def test_who_cannot_be_reached_is_named_and_the_key_is_not(terminal: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = terminal(*LIST, "--server", url, "--api-key", API_KEY)
    assert (done.code, done.out, done.err) == (1, "", f"error: cannot ask {url}: connection refused\n")
    done = terminal(*LIST, "--server", url.replace("http", "https"), "--api-key", API_KEY)
    assert "connection refused" in done.err


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "does not answer as an AuthPlane",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[x", "does not answer as an"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
            "listener (502)",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
            "redirects elsewhere (302)",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
            "not answer in HTTP",
        ),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "it does not answer in HTTP"),
    ],
)
def test_somebody_else_is_not_taken_for_a_server(terminal: Command, answer: bytes, sentence: str) -> None:
    with answering(answer) as (url, received):
        done = terminal(*LIST, "--server", url, "--api-key", API_KEY)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert sentence in done.err
    assert API_KEY not in done.err
    assert len(received) == 1


def test_an_untrusted_certificate_gets_no_key(
    terminal: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, _ = tls_contexts(tmp_path, "127.0.0.1")
    body = b'{"mode":"open"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + body
    with answering(answer, tls) as (url, received):
        done = terminal("admin", "dcr", "get", "--server", url, "--api-key", API_KEY)
        assert (done.code, done.out, received) == (1, "", [])
        assert done.err.startswith(f"error: cannot ask {url}: its certificate is not trusted: ")
        monkeypatch.setenv("SSL_CERT_FILE", str(next(tmp_path.glob("*.pem"))))
        assert terminal("admin", "dcr", "get", "--server", url, "--api-key", API_KEY).out == "DCR mode: open\n"
        plain = terminal("admin", "dcr", "get", "--server", url.replace("https", "http"), "--api-key", API_KEY)
    # Asked once: by who trusts the certificate.
    assert (plain.code, len(received)) == (1, 1)
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, received):
        done = terminal("admin", "dcr", "get", "--server", url.replace("http", "https"), "--api-key", API_KEY)
    assert done.err == f"error: cannot ask {url.replace('http', 'https')}: it does not speak TLS\n"


def test_an_operator_may_do_what_their_role_says_and_is_named(
    command: Command, server: str, database_target: str, tmp_path: Path
) -> None:
    keys = {}
    for name, role in (("ada", "operator"), ("grace", "read-only")):
        file = tmp_path / name
        file.write_text(command("admin", "operator", "create", "--name", name, "--role", role).fields["key"])
        keys[name] = ("--server", server, "--api-key-file", str(file))
    done = command(*CREATE, *keys["grace"])
    assert done.err == "error: the role read-only may not do this; it takes operator\n"
    assert command(*CREATE, *keys["ada"]).code == 0
    row = audited(database_target)[-1]
    assert (row.action, row.actor_id) == ("client.created_admin", "ada")


def test_the_path_of_the_issuer_may_stand_in_the_url(
    terminal: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    with admin_listener({**environment, "AUTHPLANE_SERVER_ISSUER": "http://localhost:9000/base"}) as url:
        for below in ("", "/", "/base", "/base/"):
            done = terminal("admin", "dcr", "get", "--server", f"{url}{below}", "--api-key", API_KEY)
            assert (done.code, done.out) == (0, "DCR mode: open\n")


def test_a_warning_says_when_the_key_travels_unencrypted(terminal: Command) -> None:
    done = terminal(*LIST, "--server", "http://admin.invalid:9001", "--api-key", API_KEY)
    first, second = done.err.splitlines()
    assert first == "warning: the API key travels unencrypted to admin.invalid: use https"
    assert second == "error: cannot ask http://admin.invalid:9001: its host name has no address"
    assert "warning" not in terminal(*LIST, "--server", "https://admin.invalid:9001", "--api-key", API_KEY).err


def test_a_command_without_endpoint_refuses_a_server(terminal: Command) -> None:
    done = terminal("admin", "audit", "verify", AUTHPLANE_ADMIN_URL="https://a.example")
    assert (done.code, done.out) == (1, "")
    assert re.match(r"error: authserver admin audit verify works on the database itself: run it where .*\n", done.err)
    done = terminal("--server", "https://a.example", "migrate")
    assert (done.code, done.err) == (1, "error: --server is for authserver admin only\n")
    # What a server is configured with may name it, too.
    assert terminal("config", "show", AUTHPLANE_ADMIN_URL="https://a.example").code == 0


def test_what_is_not_text_is_refused(terminal: Command) -> None:
    for words in (
        ("get", "--id", "\udcff"),
        ("update", "--id", "a", "--name", "\udcff"),
        ("list", "--status", "\udcff"),
    ):
        done = terminal("admin", "client", *words)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: ")


def test_a_command_in_this_process_finds_every_endpoint() -> None:
    for entry in TABLE:
        assert entry in endpoints_below(entry.path.split("/")[2])
