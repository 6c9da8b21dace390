"""What operators are shown, by the admin API and the command line alike."""

from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.records import OperatorRecord
from authserver.protocol.times import spell_time


class Status(TypedDict):
    """What became of the thing."""

    status: str


class OperatorView(TypedDict):
    """An operator, never with its key; ``resources`` are ids, absent for one who is for everything."""

    name: str
    role: str
    created_by: str
    created_at: str
    resources: NotRequired[list[str]]
    expires_at: NotRequired[str]
    revoked_at: NotRequired[str]


def build_operator(record: OperatorRecord) -> OperatorView:
    """Return an operator as operators are shown it."""
    operator = record.operator
    view = OperatorView(
        name=operator.name,
        role=str(operator.role),
        created_by=record.created_by,
        created_at=spell_time(record.created_at),
    )
    if operator.resources is not None:
        view["resources"] = sorted(operator.resources)
    if record.expires_at is not None:
        view["expires_at"] = spell_time(record.expires_at)
    if record.revoked_at is not None:
        view["revoked_at"] = spell_time(record.revoked_at)
    return view
