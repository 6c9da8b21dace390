"""The command tree. Commands are imported when they are asked for, so that none waits for what another needs."""

from authserver.cli.groups import LazyGroup

cli = LazyGroup(
    name="authserver",
    help="AuthPlane: OAuth 2.1 authorization server for the Model Context Protocol.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    modules={
        "serve": "authserver.cli.serve",
        "quickstart": "authserver.cli.quickstart",
        "migrate": "authserver.cli.migrate",
        "purge": "authserver.cli.purge",
        "backup": "authserver.cli.backup",
        "restore": "authserver.cli.restore",
        "db": "authserver.cli.db",
        "version": "authserver.cli.version",
        "doctor": "authserver.cli.doctor",
        "config": "authserver.cli.config",
        "admin": "authserver.cli.admin.group",
    },
)
