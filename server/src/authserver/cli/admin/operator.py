"""``authserver admin operator``: who else may use the admin API (decision 0028)."""

from typing import Any

import click

from authserver.admin.records import ROLES
from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import Duration, require


@click.group("operator", cls=Group)
def command() -> None:
    """Create, list and revoke operators of the admin API."""


@command.command("create")
@click.option("--name", default="", help="The actor of its audit rows; never given twice. Required.")
@click.option("--role", default="", help=f"{', '.join(ROLES)}; each may all that those before it may. Required.")
@click.option("--resource", "resources", multiple=True, help="Slug or id; may be repeated. The key is for these only.")
@click.option("--expires-in", type=Duration(), help="Such as 30d or 720h; without it the key does not expire.")
@calls_api()
def create(api: Api, *, name: str, role: str, resources: tuple[str, ...], expires_in: float | None) -> None:
    """Create an operator; its key is printed once."""
    require(name, "--name")
    require(role, "--role")
    new = {
        "name": name,
        "role": role,
        "resources": resources or None,
        "expires_in": None if expires_in is None else int(expires_in),
    }
    created = api.call("POST /admin/operators", body=new)
    api.tell(
        created,
        f"operator created: name={created['name']} role={created['role']}",
        f"key={created['key']} (shown once, store securely)",
    )


@command.command("list")
@calls_api()
def list_(api: Api) -> None:
    """List operators by name, revoked ones included."""
    operators = api.call_pages("GET /admin/operators")
    api.tell_list(operators, map(_line, operators), none="no operators found")


@command.command("revoke")
@click.option("--name", default="", help="Required.")
@calls_api()
def revoke(api: Api, *, name: str) -> None:
    """Refuse an operator's key from now on, in every running server."""
    require(name, "--name")
    answer = api.call("DELETE /admin/operators/{name}", name=name)
    api.tell(answer, f"operator revoked: name={name}")


def _line(operator: dict[str, Any]) -> str:
    fields = [f"{name}={operator[name]}" for name in ("name", "role", "created_at")]
    fields += [f"{name}={operator[name]}" for name in ("expires_at", "revoked_at") if name in operator]
    if "resources" in operator:
        fields.append(f"resources={','.join(operator['resources'])}")
    return " ".join(fields)
