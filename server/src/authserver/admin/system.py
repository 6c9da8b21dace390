"""What operators are told about the server itself."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class Notice(TypedDict):
    """Something that deserves a look; the id stays the same."""

    id: str
    severity: Literal["info", "warning"]
    title: str
    body: str
    docs_url: NotRequired[str]


def find_notices(mode: str, *, default_scope: str) -> list[Notice]:
    """Return what operators should be told now.

    Args:
        mode: Of dynamic registration, the one in force.
        default_scope: ``oauth.default_client_scope``.
    """
    if default_scope or mode == "admin_only":
        return []
    return [
        Notice(
            id="oauth-default-client-scope-required-v0.3.0",
            severity="warning",
            title="Self-registered clients get no scope ceiling",
            body=(
                "oauth.default_client_scope is empty, so clients that register themselves get no ceiling. From 0.3.0 they"
                " will be refused with invalid_scope. Set oauth.default_client_scope"
                " (AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE). It does not cover clients that are registered already, clients"
                " that operators create without a scope, nor self-registered clients that ask for machine grants. Closing"
                " registration (admin_only) silences this notice without mending any of these."
            ),
        )
    ]


def spell_uptime(seconds: int) -> str:
    """Return ``3d 4h 5m 6s``, without the leading units that are zero."""
    parts: list[str] = []
    for unit, size in _UNITS:
        number, seconds = divmod(seconds, size)
        if number or parts or size == 1:
            parts.append(f"{number}{unit}")
    return " ".join(parts)


def spell_all_units(seconds: int) -> str:
    """Return ``1m0s`` or ``24h0m0s``: every unit below the first one that is not zero."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{rest}s"
