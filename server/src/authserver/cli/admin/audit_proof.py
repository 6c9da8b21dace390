"""``authserver admin audit checkpoint``, ``export`` and ``verify``: proofs that the trail is as it was written."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click
import orjson

from authserver.audit.chain.export import read_export, write_export
from authserver.audit.chain.parts import read_parts
from authserver.audit.chain.records import is_hash
from authserver.audit.chain.report import Report
from authserver.audit.chain.verification import Pinned, verify, verify_database
from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.admin.opening import run
from authserver.cli.printing import as_json
from authserver.core import Core, open_keys
from authserver.keys.keystore import KeyStoreError


@click.command("checkpoint")
@calls_api()
def checkpoint(api: Api) -> None:
    """Print the newest checkpoint, to be kept elsewhere and given to ``verify --checkpoint``: it shows a cut tail."""
    head = api.call("GET /admin/audit/checkpoint")
    line = (
        f"checkpoint={head['number']}:{head['hash']} rows={head['total']}" if head["number"] else "no checkpoints found"
    )
    api.tell(head, line)


@click.command("export")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file; without it, standard output."
)
@click.pass_obj
def export(config_path: str | None, *, output: Path | None) -> None:
    """Write the trail with its seals, as lines of JSON, for ``verify --file`` or another place to keep it."""

    async def write(core: Core, file: BinaryIO) -> None:
        async for line in write_export(read_parts(core.db), now=core.clock()):
            file.write(line)

    with nullcontext(sys.stdout.buffer) if output is None else output.open("wb") as file:
        run(config_path, lambda core: write(core, file))


@click.command("verify")
@click.option(
    "--file", "exported", type=click.File("rb"), help="Verify an export instead of the database; - is standard input."
)
@click.option(
    "--keys",
    "keys_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JWK set to trust. Without it, the key store is; with --file, nothing is, and keys are only named.",
)
@click.option("--checkpoint", "pinned", default="", help="A checkpoint that must be there, as `checkpoint` printed it.")
@click.option("--json", "in_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def verify_(
    config_path: str | None, *, exported: BinaryIO | None, keys_file: Path | None, pinned: str, in_json: bool
) -> None:
    """Prove that no row was changed, removed, inserted or reordered since it was sealed.

    An export needs neither database nor configuration. A key that signed a checkpoint together with a trusted one is trusted.
    """
    expected = _parse_pinned(pinned)
    keys = _read_keys(keys_file) if keys_file else None

    async def check(core: Core) -> Report:
        trusted = await _published_keys(core) if keys is None else keys
        return await verify_database(core.db, trusted=trusted, pinned=expected)

    if exported is None:
        report = run(config_path, check)
    else:
        report = asyncio.run(verify(read_export(exported), trusted=keys or (), pinned=expected))
    _print(report, in_json=in_json)


async def _published_keys(core: Core) -> Sequence[object]:
    now = core.clock()
    try:
        keyring = await open_keys(core.config, now=now, core=core, makes_first=False)
    except KeyStoreError as exc:
        raise click.ClickException(f"{exc}; give the keys to trust with --keys") from exc
    published = [dict(key.jwk) for key in keyring.snapshot(now).public_keys.values()]
    await keyring.close()
    return published


def _read_keys(path: Path) -> list[object]:
    try:
        document = orjson.loads(path.read_bytes())
        keys = document["keys"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise click.ClickException(f"{path}: not a JWK set") from exc
    if not isinstance(keys, list) or not keys:
        raise click.ClickException(f"{path}: not a JWK set with a key in it")
    return keys


def _parse_pinned(text: str) -> Pinned | None:
    if not text:
        return None
    number, _, named = text.removeprefix("checkpoint=").partition(":")
    if not number.isdecimal() or not is_hash(named):
        raise click.ClickException("--checkpoint must be NUMBER:HASH, as authserver admin audit checkpoint prints it")
    return Pinned(int(number), named)


def _print(report: Report, *, in_json: bool) -> None:
    """Print what was found; a trail that is not intact fails the command."""
    if in_json:
        click.echo(as_json({"intact": report.is_intact, "first_bad_row": report.first_bad_row(), **asdict(report)}))
    else:
        keys = ",".join(report.keys) or "none"
        click.echo(
            f"intact={str(report.is_intact).lower()} checkpoints={report.first}..{report.last} rows={report.rows}"
            f" late={report.late} unsealed={report.unsealed} purged={report.purged} faults={report.fault_count}"
            f" keys={keys} trusted={'yes' if report.is_vouched_for else 'no'}"
        )
        for fault in report.faults:
            row = "" if fault.row is None else f" row={fault.row}"
            click.echo(f"fault={fault.kind} checkpoint={fault.checkpoint}{row} {fault.explanation}")
    if report.keys and not report.is_vouched_for:
        click.echo("note: nobody vouches for these keys; give those to trust with --keys", err=True)
    if not report.is_intact:
        first = report.first_bad_row()
        where = f"the first bad row is {first}" if first else f"see checkpoint {report.faults[0].checkpoint}"
        raise click.ClickException(f"the audit trail is not as it was sealed: {where}")
