"""Two workers of one server: what each does, and a connection to each."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2

from e2e.harness.person import forms_of
from e2e.harness.processes import Process, wait_until

SECONDS = 40


def lines(process: Process) -> list[dict[str, Any]]:
    """Return the log so far."""
    return [json.loads(line) for line in process.output.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_two(process: Process, *, without: int = 0) -> None:
    """Wait until two workers serve, none of them a dead one."""

    def two_serve() -> bool:
        serving = {line["pid"] for line in lines(process) if line["msg"] == "worker serves"}
        alive = [pid for pid in process.workers if pid in serving]
        return len(alive) == 2 and without not in alive

    wait_until(two_serve, seconds=SECONDS, what="two workers serve")


@contextlib.contextmanager
def pinned(process: Process, origin: str) -> Iterator[list[httpx2.Client]]:
    """Yield a connection to each worker, kept open: which of them answers is the test's choice."""
    with contextlib.ExitStack() as stack:
        by_worker: dict[int, httpx2.Client] = {}

        def has_both() -> bool:
            http, request_id = stack.enter_context(httpx2.Client(base_url=origin, timeout=SECONDS)), uuid.uuid4().hex
            http.get("/livez", headers={"x-request-id": request_id})
            found: list[dict[str, Any]] = []

            def is_told() -> bool:
                found[:] = [line for line in lines(process) if line.get("request_id") == request_id]
                return bool(found)

            wait_until(is_told, seconds=SECONDS, what="the access line")
            by_worker.setdefault(found[0]["worker"], http)
            return len(by_worker) == 2

        wait_until(has_both, seconds=SECONDS, what="a connection to each worker")
        yield [by_worker[0], by_worker[1]]


def sign_in(http: httpx2.Client, email: str, password: str) -> httpx2.Response:
    """Send the login form as a browser would."""
    (form,) = [form for form in forms_of(http.get("/login").text) if "password" in form.names()]
    fields = dict(form.fields) | {"email": email, "password": password}
    return http.post("/login", data=fields, headers={"origin": "null"})
