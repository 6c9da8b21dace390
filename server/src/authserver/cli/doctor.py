"""``authserver doctor``: which layer between an MCP client and a server is wrong, and what to change."""

import asyncio
import sys

import click

from authserver.cli.options import Duration, switch
from authserver.cli.printing import as_json
from authserver.config.loader import process_environment
from authserver.core import Clock
from authserver.doctor.diagnosing import INSPECTOR, Kind, diagnose
from authserver.doctor.reporting import as_members, as_words, is_healthy
from authserver.outbound.client import OutboundClient

_VARIABLE = "AUTHSERVER_DOCTOR_TOKEN"


@click.command("doctor")
@click.argument("url")
@switch("--token-stdin", help=f"Reads an access token from standard input, one line; or set {_VARIABLE}.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind]),
    help="What the URL is; without it, the doctor finds out.",
)
@click.option("--timeout", type=Duration(), default="5s", show_default=True, help="How long to wait for each answer.")
@click.option("--origin", default=INSPECTOR, show_default=True, help="The web page that CORS should let in.")
@switch("--json", "in_json", help="Print JSON.")
def command(*, url: str, token_stdin: bool, kind: str | None, timeout: float, origin: str, in_json: bool) -> None:
    """Examine an MCP server or an issuer at URL, anybody's, as an MCP client meets it.

    Walks from the challenge over protected-resource metadata, server metadata and keys to the token, if one is given, and
    looks at clocks, CORS and TLS. Needs no configuration. The token is sent to URL and nowhere else. MCP servers are also
    shown forged tokens, which they must refuse.
    """
    token = sys.stdin.readline().strip() if token_stdin else process_environment().get(_VARIABLE, "").strip()
    diagnosis = asyncio.run(
        diagnose(
            url,
            http=OutboundClient(),
            clock=Clock(),
            token=token or None,
            kind=Kind(kind) if kind else None,
            timeout=timeout,
            page=origin,
        )
    )
    if in_json:
        click.echo(as_json(as_members(diagnosis, token=token)))
    else:
        click.echo(as_words(diagnosis, token=token))
    if not is_healthy(diagnosis):
        names = dict.fromkeys(found.code.name for found in diagnosis.findings)
        raise click.ClickException(f"{url} is not healthy: {', '.join(names)}")
