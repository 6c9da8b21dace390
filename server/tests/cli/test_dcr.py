import pytest

from server.tests.cli.terminal import Command, audited


def test_the_mode_of_the_configuration_is_in_force_until_one_is_set(command: Command, database_target: str) -> None:
    assert command("admin", "dcr", "get", AUTHPLANE_DCR_MODE="admin_only").out == "DCR mode: admin_only\n"
    done = command("admin", "dcr", "set", "--mode", "open")
    assert (done.code, done.out) == (0, "DCR mode set to: open\nrunning servers follow within seconds\n")
    assert command("admin", "dcr", "get", AUTHPLANE_DCR_MODE="admin_only").out == "DCR mode: open\n"
    (row,) = audited(database_target)
    assert (row.action, row.detail) == ("dcr.mode_updated", "dcr mode changed from open to open")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [((), "--mode is required"), (("--mode", "shut"), "mode must be one of open, approved_redirects, admin_only")],
)
def test_what_is_no_mode_is_refused(command: Command, words: tuple[str, ...], sentence: str) -> None:
    done = command("admin", "dcr", "set", *words)
    assert (done.code, done.out, done.err) == (1, "", f"error: {sentence}\n")
