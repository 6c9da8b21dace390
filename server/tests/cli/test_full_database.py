"""Commands that read, and purges that find little to delete, stay flat on a full database, as the admin API does."""

import asyncio
import time
from collections.abc import Iterator

import click
import pytest

from authserver.cli.tree import cli
from authserver.maintenance.purge import Target
from filling import client_id, user_id
from server.tests.cli.terminal import Command
from server.tests.wire.harness import RESOURCE
from server.tests.wire.recording import record_all
from server.tests.wire.work import EXCEPTIONS, examine, fill

READING: dict[str, list[tuple[str, ...]]] = {
    "client get": [("--id", client_id(22))],
    "client list": [(), ("--status", "suspended"), ("--source", "admin", "--limit", "1000")],
    "user list": [()],
    "resource allowed-client list": [("--slug", "notes")],
    "resource return-url list": [("--slug", "notes")],
    "resource runtime-client list": [("--slug", "notes")],
    "resource get": [("--id", "notes")],
    "resource list": [()],
    "fronting get": [("--source", "a", "--target", "b")],
    "fronting list": [()],
    "grant list-user-grants": [("--user", user_id(0))],
    "issuance get": [("--id", "A" * 22)],
    "issuance list": [("--user", user_id(0)), ("--client", client_id(22)), ("--jti", "A" * 22)],
    "key list": [()],
    "dcr get": [()],
    "trace list": [()],
    "trace show": [("ref_none",)],
    "idp list": [()],
    "idp show": [("--id", "none")],
    "xaa mapping list": [(), ("--idp-id", "none")],
    "xaa policy list": [()],
    "xaa policy show": [("--id", "none")],
    "audit list": [(), ("--action", "nothing", "--since", "240h"), ("--client", client_id(0), "--actor", user_id(0))],
    "audit tail": [()],
    "audit delivery": [()],
    "operator list": [()],
}
"""What follows each command of ``admin`` that only reads."""
WORDS = ("get", "list", "show", "list-user-grants", "tail", "delivery")


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    for name in command.list_commands(click.Context(command)):
        inner = command.get_command(click.Context(command), name)
        assert inner is not None
        yield from _leaves(inner, (*path, name))


def test_commands_and_purges_are_flat(command: Command, database_target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = {" ".join(path[1:]) for path in _leaves(cli) if path[0] == "admin" and path[-1] in WORDS}
    assert set(READING) <= reading
    resource = ("--slug", "notes", "--backend-kind", "mint", "--uri", RESOURCE, "--scopes", "notes:read")
    assert command("admin", "resource", "create", *resource).code == 0
    asyncio.run(fill(database_target, now=int(time.time())))
    recording = record_all(monkeypatch)
    for words in sorted(reading):
        for rest in READING.get(words, [()]):
            command("admin", *words.split(), *rest)
    for target in Target:
        retention = ("--retention", "720h") if target in {Target.AUDIT_EVENTS, Target.ISSUANCES} else ()
        assert command("purge", "--only", target, *retention).code == 0
    grown = asyncio.run(examine(database_target, recording, exceptions=EXCEPTIONS))
    assert not grown, "\n".join(grown)
