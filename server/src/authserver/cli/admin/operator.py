"""``authserver admin operator``: who else may use the admin API (decision 0028)."""

import click

from authserver.admin.operators import NewOperator
from authserver.admin.records import ROLES, OperatorRecord
from authserver.admin.store import list_operators
from authserver.admin.views import build_operator
from authserver.cli.admin.opening import as_json, require, run
from authserver.cli.groups import Group
from authserver.cli.options import Duration, switch


@click.group("operator", cls=Group)
def command() -> None:
    """Create, list and revoke operators of the admin API."""


@command.command("create")
@click.option("--name", default="", help="The actor of its audit rows; never given twice. Required.")
@click.option("--role", default="", help=f"{', '.join(ROLES)}; each may all that those before it may. Required.")
@click.option("--resource", "resources", multiple=True, help="Slug or id; may be repeated. The key is for these only.")
@click.option("--expires-in", type=Duration(), help="Such as 30d or 720h; without it the key does not expire.")
@click.pass_obj
def create(
    config_path: str | None, *, name: str, role: str, resources: tuple[str, ...], expires_in: float | None
) -> None:
    """Create an operator; its key is printed once."""
    require(name, "--name")
    require(role, "--role")

    def new(now: int) -> NewOperator:
        expires_at = None if expires_in is None else now + int(expires_in)
        return NewOperator(name=name, role=role, resources=resources or None, expires_at=expires_at)

    record, key = run(config_path, lambda core: core.operators.create(new(core.clock()), now=core.clock()))
    click.echo(f"operator created: name={record.operator.name} role={record.operator.role}")
    click.echo(f"key={key} (shown once, store securely)")


@command.command("list")
@switch("--json", help="Prints JSON.")
@click.pass_obj
def list_(config_path: str | None, *, json: bool) -> None:
    """List operators by name, revoked ones included."""
    records = run(config_path, lambda core: list_operators(core.db, limit=10_000))
    if json:
        click.echo(as_json([build_operator(record) for record in records]))
        return
    for record in records:
        click.echo(_line(record))
    if not records:
        click.echo("no operators found")


@command.command("revoke")
@click.option("--name", default="", help="Required.")
@click.pass_obj
def revoke(config_path: str | None, *, name: str) -> None:
    """Refuse an operator's key from now on, in every running server."""
    require(name, "--name")
    run(config_path, lambda core: core.operators.revoke(name, now=core.clock()))
    click.echo(f"operator revoked: name={name}")


def _line(record: OperatorRecord) -> str:
    view = build_operator(record)
    fields = [f"name={view['name']}", f"role={view['role']}", f"created_at={view['created_at']}"]
    fields += [f"{name}={view[name]}" for name in ("expires_at", "revoked_at") if name in view]
    if "resources" in view:
        fields.append(f"resources={','.join(view['resources'])}")
    return " ".join(fields)
