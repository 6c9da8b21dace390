"""``vouched.py KEYS serve …``: the server with a file for every key set that it fetches; no provider on loopback is public."""

import sys
from pathlib import Path
from unittest.mock import patch

from authserver import core
from authserver.cli.main import main
from authserver.outbound.client import OutboundClient, OutboundResponse

if __name__ == "__main__":
    answer = OutboundResponse(status=200, headers={}, body=Path(sys.argv.pop(1)).read_bytes())

    class FileClient(OutboundClient):
        """Answers everything with the file."""

        async def get(self, *_arguments: object, **_options: object) -> OutboundResponse:
            """Return the file."""
            return answer

    with patch.object(core, "OutboundClient", FileClient):
        main()
