"""``authserver serve``: one process that serves, or several under a supervisor."""

import click

from authserver.config.loader import load_config, process_environment, with_session_secret
from authserver.config.workers import worker_count


@click.command("serve")
@click.option(
    "--workers",
    metavar="N",
    help="Processes that serve together, on PostgreSQL; 'auto' is one for each core.  [default: server.workers]",
)
@click.pass_obj
def command(config_path: str | None, *, workers: str | None) -> None:
    """Run the server until SIGINT or SIGTERM; SIGHUP reloads the signing keys."""
    flag = {"AUTHPLANE_SERVER_WORKERS": workers} if workers is not None else {}
    loaded = load_config(config_path, {**process_environment(), **flag})
    count = worker_count(loaded.config)
    if count == 1:
        from authserver.cli.serving import run_server  # noqa: PLC0415  not before metrics know whether they are shared

        run_server(loaded)
        return
    from authserver.cli.supervisor import supervise  # noqa: PLC0415  only where there is something to supervise

    supervise(loaded, with_session_secret(loaded.config), count)
