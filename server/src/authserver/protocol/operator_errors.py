"""Refusals of the operators' side: what an admin call or command is told when it may not be done."""


class OperatorError(Exception):
    """A refusal that an operator is told about, in one sentence without secrets.

    Attributes:
        members: What the answer of the admin API holds beside the sentence.
    """

    def __init__(self, sentence: str = "", **members: object) -> None:
        super().__init__(sentence)
        self.members = members


class NotFound(OperatorError):  # noqa: N818  the word of the admin API
    """There is no such row."""


class Conflict(OperatorError):  # noqa: N818  the word of the admin API
    """What is there stands against it: a name in use, a newer version, rows that refer to it."""


class Invalid(OperatorError):  # noqa: N818  the word of the admin API
    """What was given breaks a rule."""


class Forbidden(OperatorError):  # noqa: N818  the word of the admin API
    """Others may do it, this operator may not."""


class Failed(OperatorError):  # noqa: N818  the word of the admin API
    """It was tried and failed. Why is its cause: told to who works on this machine, and to the log."""


class Unreachable(OperatorError):  # noqa: N818  the word of the admin API
    """Another server, which it takes, does not answer or answers nonsense."""
