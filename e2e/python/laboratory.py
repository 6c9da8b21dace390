"""The command ``authserver`` where addresses of this machine count as public, so that a provider of a test can stand here.

No configuration of the product does that. It runs in processes of its own; all else about it is the product's.
"""

import functools

from authserver import core
from authserver.cli.main import main
from authserver.outbound.client import OutboundClient

vars(core)["OutboundClient"] = functools.partial(OutboundClient, is_forbidden=lambda _address: False)

if __name__ == "__main__":
    main()
