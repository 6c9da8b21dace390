"""Makes the page of the doctor from its table of codes."""

from authserver.doctor.catalogue import CODES
from authserver.doctor.codes import Layer

_INTRODUCTION = """# The doctor

<!-- Made from the code by tools/generate.py; edit server/src/authserver/doctor/*_codes.py or tools/generate_doctor.py. -->

`authserver doctor URL` examines an MCP server or an issuer, anybody's, as an MCP client meets it, and says which layer is
wrong and what to change. It needs no configuration and no database, only the network.

```console
$ authserver doctor https://mcp.example.com/mcp
$ authserver doctor https://auth.example.com --json
$ authserver doctor https://mcp.example.com/mcp --token-stdin < token
```

| It looks at | How |
|---|---|
| connection | names, TLS (trust, host name, expiry), plain http off loopback, redirects, time |
| challenge | a call without a token must be answered with 401 and a pointer; two forged tokens must be refused |
| resource | protected-resource metadata at the pointer and at its well-known URL, and its spelling of the resource |
| server | server metadata at each spelling that clients try, its issuer byte for byte, its endpoints |
| keys | the key set |
| token | type, issuer, audience, times, scope and signature; then the MCP server is shown it |
| clock | the `Date` of each server against this machine, and both against the token |
| cors | what a page of `--origin` may read and send |

The token comes from standard input (`--token-stdin`) or from `AUTHSERVER_DOCTOR_TOKEN`, never from the command line. It is
sent to the URL itself and nowhere else, not along a redirect, not over plain http to another machine, and not when it is
bound to a key. It is never printed. The forged tokens hold what a real one would, issuer and audience included, under a
made-up signature and under none; the server's log may show two refusals. A call is the first message of an MCP session.
Servers in private networks can be examined; what a public server names is not followed into one.

A **fault** makes clients fail: the command exits with 1. A **warning** hurts some clients, or will some day: alone it
exits with 0. With `--json` the answer has `healthy`, the state of each layer, every finding with `code`, `layer`,
`severity`, `url`, `seen`, `expected`, `meaning` and `change`, and the requests that were made. Codes are stable.
"""


def doctor_page() -> str:
    """Return the page."""
    lines = [_INTRODUCTION]
    for layer in Layer:
        lines += [f"## {layer.capitalize()}", "", "| Code | Severity | Meaning | What to change |", "|---|---|---|---|"]
        for code in CODES.values():
            if code.layer is layer:
                cells = (f"`{code.name}`", code.severity, code.meaning, code.change)
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines)
