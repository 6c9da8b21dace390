"""What a request of a command goes through to the admin API: this process, or a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import click


class Refused(click.ClickException):
    """The endpoint refuses, in one sentence.

    Attributes:
        members: What its answer holds beside it.
    """

    def __init__(self, sentence: str, members: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.members = members


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answered."""

    status: int
    content_type: str
    body: bytes


class Transport(Protocol):
    """Where endpoints are asked: in this process, or a server."""

    def send(self, method: str, target: str, body: bytes) -> Answer:
        """Have a request answered, whatever the status.

        Args:
            method: In capitals.
            target: Path and query, escaped.
            body: JSON, or nothing.

        Raises:
            Refused: It was answered with a refusal, and this transport tells so itself.
            ClickException: There is no answer; it tells why.
        """

    def foreign(self, answer: Answer) -> str:
        """Return what an answer means that is none of the admin API's."""

    def close(self) -> None:
        """Close what was opened."""
