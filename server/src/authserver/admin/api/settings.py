"""``/admin/settings/dcr`` (admin API, 13)."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Body, Call, endpoint
from authserver.admin.records import Role


class ModeBody(Body):
    """The mode to put in force."""

    mode: str | None = None


class Mode(TypedDict):
    """The mode in force: ``open``, ``approved_redirects`` or ``admin_only``."""

    mode: str


@endpoint("GET", "/admin/settings/dcr", role=Role.READ_ONLY)
async def get_registration_mode(call: Call[None]) -> Mode:
    """Show who may register clients dynamically, or by a metadata document."""
    await call.parts.mode.refresh()
    return Mode(mode=call.parts.mode.current)


@endpoint("PATCH", "/admin/settings/dcr", role=Role.OWNER)
async def set_registration_mode(call: Call[ModeBody]) -> Mode:
    """Put a mode in force, here at once and elsewhere within two seconds; it outlives restarts."""
    return Mode(mode=await call.parts.mode.set(call.body.mode or "", actor_id=call.operator.name, now=call.now))


ENDPOINTS = (get_registration_mode, set_registration_mode)
