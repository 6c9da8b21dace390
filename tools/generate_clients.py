"""Makes the page on client compatibility from the fixtures that the tests replay, so that it says nothing else."""

import json
from pathlib import Path
from typing import Any

_FIXTURES = Path(__file__).resolve().parent.parent / "server" / "tests" / "fixtures" / "clients"
_WAYS = {"document": "metadata document", "dynamic": "dynamic registration"}
_INTRODUCTION = """# Clients

<!-- Made from server/tests/fixtures/clients by tools/generate.py; edit those files instead. -->

How shipping clients sign in, what is particular about them, and what AuthPlane does about it. *Replayed* means that the
requests the client was seen to send, from discovery over registration, login and consent to a call and a refresh, are
played to the server on both databases by `server/tests/wire/test_client_fixtures.py`; *run for real* means that the client
itself signs in, calls a tool and refreshes in the named test. What no source says of a client is filled in as the MCP
specification has it. Documents are served from a local address in the tests, since the vendors' cannot be reached there.

In the set-ups, `URL` is the address of your MCP server and `NAME` what you call it.
"""


def clients_page() -> str:
    """Return the page."""
    fixtures = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(_FIXTURES.glob("*.json"))]
    rows = ["| Client | Seen | Registers by | Redirect URIs | Proven |", "|---|---|---|---|---|"]
    rows += [_row(fixture) for fixture in fixtures]
    return "\n".join([_INTRODUCTION, *rows, "", *(_section(fixture) for fixture in fixtures)])


def _row(fixture: dict[str, Any]) -> str:
    flows = fixture["flows"]
    ways = ", ".join(dict.fromkeys(_WAYS[flow["way"]] for flow in flows))
    uris = dict.fromkeys(uri for flow in flows for uri in _stated(flow)["redirect_uris"])
    spelled = "<br>".join(f"`{uri}`" for uri in uris)
    return f"| {fixture['client']} | {fixture['seen']} | {ways} | {spelled} | {fixture['proof']} |"


def _section(fixture: dict[str, Any]) -> str:
    documents = dict.fromkeys(flow["document_url"] for flow in fixture["flows"] if flow["way"] == "document")
    lines = [f"## {fixture['client']}", "", f"Set-up: {fixture['setup']}.", ""]
    if documents:
        lines += [f"Metadata document: {', '.join(_spell(url) for url in documents)}.", ""]
    lines += ["| What it does | What AuthPlane does |", "|---|---|"]
    lines += [f"| {_sentence(quirk['does'])} | {_sentence(quirk['we'])} |" for quirk in fixture["quirks"]]
    return "\n".join([*lines, "", f"Sources: {'; '.join(fixture['source'])}.", ""])


def _stated(flow: dict[str, Any]) -> dict[str, Any]:
    stated: dict[str, Any] = flow["document"] if flow["way"] == "document" else flow["registration"]
    return stated


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _spell(url: str) -> str:
    return f"`{url}`" if "://" in url else url
