"""Durations as options: the syntax of the configuration (configuration.md §2)."""

import click

from authserver.config.durations import parse_duration


class DurationType(click.ParamType[float]):
    """A duration such as ``90s`` or ``1h30m``, as seconds; ``0`` stands for itself."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse what was given."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value)
        try:
            return 0.0 if text == "0" else parse_duration(text)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)
