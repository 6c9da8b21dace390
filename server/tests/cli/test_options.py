import click
import pytest

from authserver.cli.groups import Group
from authserver.cli.options import Duration, switch


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
        (["--force=true", "--force=false"], False),
        (["--force=false", "--force"], True),
    ],
)
def test_a_switch_is_bare_or_has_a_value(words: list[str], value: object) -> None:
    found: list[bool] = []

    @click.command()
    @switch("--force")
    @click.option("--other")
    def command(*, force: bool, other: str | None) -> None:
        found.append(force)

    Group(commands={"command": command}).main(["command", *words], standalone_mode=False)
    assert found == [value]
