import json

from server.tests.cli.terminal import Command, audited


def test_an_operator_is_created_listed_and_revoked(command: Command, database_target: str) -> None:
    done = command("admin", "operator", "create", "--name", "ada", "--role", "auditor", "--expires-in", "30d")
    first, second = done.out.splitlines()
    assert (done.code, first) == (0, "operator created: name=ada role=auditor")
    assert second.startswith("key=apo_")
    assert second.endswith(" (shown once, store securely)")
    assert command("admin", "operator", "list").out.startswith("name=ada role=auditor created_at=20")
    (listed,) = json.loads(command("admin", "operator", "list", "--json").out)
    assert (listed["name"], listed["created_by"]) == ("ada", "admin")
    assert "expires_at" in listed
    assert command("admin", "operator", "revoke", "--name", "ada").out == "operator revoked: name=ada\n"
    assert "revoked_at=" in command("admin", "operator", "list").out
    made, ended = sorted(audited(database_target), key=lambda row: row.action)
    assert (made.action, made.actor_id, ended.action) == ("operator.created", "admin", "operator.revoked")
    assert made.detail == f"name=ada role=auditor expires_at={listed['expires_at']}"


def test_what_is_no_operator_is_refused_in_one_sentence(command: Command) -> None:
    assert command("admin", "operator", "list").out == "no operators found\n"
    assert command("admin", "operator", "create", "--role", "owner").err == "error: --name is required\n"
    done = command("admin", "operator", "create", "--name", "ada", "--role", "god")
    assert (done.code, done.err) == (1, "error: role must be one of read-only, auditor, operator, owner\n")
    done = command("admin", "operator", "create", "--name", "ada", "--role", "owner", "--expires-in", "soon")
    assert done.err == "error: Invalid value for '--expires-in': 'soon' is not a duration such as 90s, 1h30m or 7d\n"
    assert command("admin", "operator", "revoke", "--name", "nobody").err == "error: operator not found\n"
