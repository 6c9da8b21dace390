"""``authserver admin token``: families of refresh tokens, and the tokens of machines (admin API, 4)."""

from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require
from authserver.cli.printing import as_text

_FIELDS = ("jti", "type", "client_id", "user_id", "resource", "status", "created_at", "expires_at")


@click.group("token", cls=Group)
def command() -> None:
    """List and revoke families of refresh tokens, and tokens that machines got for themselves."""


@command.command("list")
@click.option("--client", "client_id", help="Only those of this client.")
@click.option("--user", "user_id", help="Only those of this user: families alone.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many of each kind."
)
@click.option(
    "--offset", type=click.IntRange(min=0), default=0, show_default=True, help="Leave out so many of each kind."
)
@calls_api()
def list_(api: Api, *, client_id: str | None, user_id: str | None, limit: int, offset: int) -> None:
    """List families, whose id stands as jti, then machine tokens, each newest first."""
    query = {"client_id": client_id, "user_id": user_id, "limit": limit, "offset": offset}
    answer = api.call("GET /admin/tokens", query=query)
    api.tell_list(answer, map(_line, answer["tokens"]), none="no tokens found")


@command.command("revoke")
@click.option("--jti", default="", help="Of a machine token, or the id of a family. Required.")
@calls_api()
def revoke(api: Api, *, jti: str) -> None:
    """Revoke a family with all it handed out, or one machine token; may be repeated."""
    require(jti, "--jti")
    answer = api.call("DELETE /admin/tokens/{jti}", jti=jti)
    api.tell(answer, f"token revoked: jti={jti}")


def _line(token: dict[str, Any]) -> str:
    fields = [f"{name}={token[name]}" for name in _FIELDS if name in token]
    return f"{' '.join(fields)} scope={as_text(token['scope'])}"
