"""``authserver admin trace``: why a request was refused, by the reference id that its sender was given."""

import re

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.telemetry.decisions import without_controls
from authserver.traces.explaining import describe

_REFERENCE = re.compile(r"ref_[a-z2-7]{20}")


@click.group("trace", cls=Group)
def command() -> None:
    """Explain refused requests."""


@command.command("show")
@click.argument("reference", metavar="ID")
@calls_api()
def show(api: Api, *, reference: str) -> None:
    """Print the decision behind a refusal, step by step, and the fix.

    ID is a reference id such as ref_abcdefghij0123456789, alone or in the text that it was found in.
    """
    found = _REFERENCE.search(reference)
    if found is None:
        raise click.ClickException("ID must hold a reference id: ref_ and 20 characters")
    refusal = api.call("GET /admin/traces/{reference}", reference=found[0])
    api.tell(refusal, *describe(refusal).split("\n"))


@command.command("list")
@click.option("--client-id", help="Only refusals of this client.")
@click.option("--error", help="Only refusals with this error, such as invalid_grant.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
@calls_api()
def list_(api: Api, *, client_id: str | None, error: str | None, limit: int) -> None:
    """List the newest refusals."""
    refusals = api.call("GET /admin/traces", query={"client_id": client_id, "error": error, "limit": limit})
    lines = (
        without_controls(
            f"reference={each['reference']} time={each['time']} status={each['status']} error={each['error']!r}"
            f" reason={each['reason']} endpoint={each['endpoint']!r} client_id={each['client_id']}"
        )
        for each in refusals
    )
    api.tell_list(refusals, lines, none="no refusals kept")
