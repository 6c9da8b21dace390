"""The FastMCP client, driven by lines of JSON as ``e2e/node/client.mjs`` is. It listens for its callback itself."""

import asyncio
import json
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
import webbrowser
from typing import Any

from fastmcp import Client
from fastmcp.client.auth import OAuth

OPTIONS = json.loads(sys.argv[1])
ARRIVES_WITHIN_SECONDS = 10


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


class Browser(webbrowser.BaseBrowser):
    """Shows a page to the driver of this program, and goes where the driver was sent back to."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:  # noqa: FBT001, FBT002  the signature of the base
        say({"authorize": url})
        threading.Thread(target=self._return, daemon=True).start()
        return True

    def _return(self) -> None:
        line = sys.stdin.readline()
        deadline = time.monotonic() + ARRIVES_WITHIN_SECONDS
        while line and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(json.loads(line)["url"], timeout=ARRIVES_WITHIN_SECONDS).close()
            except urllib.error.URLError:  # the client opens the browser first and listens after
                time.sleep(0.01)
            else:
                return


async def main() -> None:
    webbrowser.register("driver", None, Browser(), preferred=True)
    warnings.simplefilter("ignore")  # tokens in memory are what is wanted here
    provider = OAuth(
        OPTIONS["mcpUrl"],
        client_metadata_url=OPTIONS.get("clientMetadataUrl"),
        client_id=OPTIONS.get("clientId"),
        callback_host="127.0.0.1",
    )
    sys.stdin.readline()
    async with Client(OPTIONS["mcpUrl"], auth=provider) as client:
        say({"connected": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            if command["do"] == "call":
                result = await client.call_tool_mcp(command["tool"], command["with"])
                say({"result": result.model_dump(mode="json", by_alias=True)})
            elif command["do"] == "list":
                say({"tools": [tool.name for tool in await client.list_tools()]})
            elif command["do"] == "refresh":
                provider.context.token_expiry_time = 1  # the client believes that its token has expired
                await client.list_tools()
                say({"refreshed": True})
            else:
                context = provider.context
                assert context.current_tokens is not None
                assert context.client_info is not None
                say(
                    {
                        "tokens": context.current_tokens.model_dump(mode="json"),
                        "client": context.client_info.model_dump(mode="json"),
                    }
                )


asyncio.run(main())
