import click
import pytest

from authserver.cli.options import Duration, switch
from server.tests.cli.terminal import Command


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90s", 90), ("1h30m", 5400), ("1.5s", 1.5), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0)],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "-1s", "d", "1.5d", "-1d", "1x", "forever"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ([], False),
        (["--force"], True),
        (["--force=true"], True),
        (["--force=false"], False),
        (["--force", "--other", "x"], True),
    ],
)
def test_a_switch_is_bare_or_has_a_value(words: list[str], value: object) -> None:
    @click.command()
    @switch("--force")
    @click.option("--other")
    def command(*, force: bool, other: str | None) -> bool:
        return force

    assert command.main(words, standalone_mode=False) is value


def test_a_switch_of_another_value_is_refused(terminal: Command) -> None:
    done = terminal("admin", "client", "delete", "--id", "x", "--force=perhaps")
    assert done.code == 1
    assert "'perhaps' is not a valid boolean" in done.err
