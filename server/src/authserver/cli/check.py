"""``authserver check``: would the server start, and what deserves a look before it does."""

from collections import Counter
from dataclasses import asdict

import click
import uvloop

from authserver.cli.options import switch
from authserver.cli.printing import as_json
from authserver.cli.readiness import Finding, State, examine
from authserver.config.loader import process_environment
from authserver.core import Clock
from authserver.telemetry.logs import configure_logging


@click.command("check")
@switch("--connect", help="Also connects to the receivers of the audit trail.")
@switch("--json", "in_json", help="Print JSON.")
@click.pass_obj
def command(config_path: str | None, *, connect: bool, in_json: bool) -> None:
    """Look at all that a start depends on, without starting: a line for each, ok, warn or fail.

    Configuration, features, secrets, file permissions, encryption, database and pending migrations, configured resources,
    signing keys, audit delivery, listeners. No migration is applied and no key is made; a server may run meanwhile. What
    would end a start is a failure, in the words that serve would use.
    """
    # What is noticed on the way is among the findings.
    configure_logging(level="error")
    # On the loop of serve, whose words for what the system says differ.
    found = uvloop.run(examine(config_path, process_environment(), clock=Clock(), connects=connect))
    counted = Counter(finding.state for finding in found)
    if in_json:
        members = {"ok": not counted[State.FAIL], "checks": [asdict(finding) for finding in found]}
        click.echo(as_json(members))
    else:
        for finding in found:
            click.echo(_line(finding))
        click.echo(" ".join(f"{state}={counted[state]}" for state in State))
    if counted[State.FAIL]:
        raise click.ClickException(f"{counted[State.FAIL]} check(s) failed")


def _line(finding: Finding) -> str:
    detail = " ".join(finding.detail.split())
    remedy = f"; to do: {finding.remedy}" if finding.remedy else ""
    return f"{finding.state:<4}  {finding.check}: {detail}{remedy}"
