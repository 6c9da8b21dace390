"""``/admin/keys`` (admin API, 12)."""

from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, endpoint
from authserver.admin.records import Role
from authserver.keys.keystore import KeyInUse, KeyStoreError, UnknownKey
from authserver.keys.records import KeyListing
from authserver.protocol.operator_errors import Conflict, NotFound
from authserver.protocol.times import spell_time
from authserver.telemetry.logs import get_logger
from authserver.web.errors import problem
from authserver.web.http import HttpResponse

_log = get_logger("admin")


class KeyView(TypedDict):
    """A published key: the current one, or one that signs no more."""

    kid: str
    alg: str
    use: str
    status: str
    store: str
    created_at: str
    rotated_at: NotRequired[str]
    retires_at: NotRequired[str]


class KeyList(TypedDict):
    """The published keys, the current one first."""

    keys: list[KeyView]


class RotatedKey(TypedDict):
    """The new key."""

    kid: str
    alg: str


@endpoint("GET", "/admin/keys", role=Role.READ_ONLY)
async def list_keys(call: Call[None]) -> KeyList:
    """List the keys that are published."""
    return KeyList(keys=[_view(key) for key in (await call.parts.keys()).list_keys(now=call.now)])


@endpoint("POST", "/admin/keys/rotate", role=Role.OWNER)
async def rotate_keys(call: Call[None]) -> RotatedKey | HttpResponse:
    """Put a new key in front; it signs as soon as every process publishes it."""
    try:
        keys = await call.parts.keys()
        key = await keys.rotate(now=call.now, operator=call.operator.name)
    except KeyStoreError as exc:
        return _fault("key rotation failed", exc)
    return RotatedKey(kid=key.kid, alg=key.alg)


@endpoint("POST", "/admin/keys/{kid}/retire", role=Role.OWNER, status=204, refusals=(404, 409))
async def retire_key(call: Call[None]) -> HttpResponse | None:
    """Publish a key no more: nobody takes what it signed any longer. Not the one that signs."""
    try:
        keys = await call.parts.keys()
        await keys.retire(call.path["kid"], now=call.now, operator=call.operator.name)
    except UnknownKey as exc:
        raise NotFound("there is no published key of this kid") from exc
    except KeyInUse as exc:
        raise Conflict(str(exc)) from exc
    except KeyStoreError as exc:
        return _fault("key retirement failed", exc)
    return None


def _fault(sentence: str, exc: KeyStoreError) -> HttpResponse:
    """Tell that it failed; why, which names files and servers, is for the log."""
    _log.error(sentence, error=str(exc))
    return problem(500, sentence)


def _view(key: KeyListing) -> KeyView:
    view = KeyView(
        kid=key.kid,
        alg=key.alg,
        use="sig",
        status=key.status,
        store=key.store,
        created_at=spell_time(key.created_at),
    )
    if key.rotated_at is not None:
        view["rotated_at"] = spell_time(key.rotated_at)
    if key.retires_at is not None:
        view["retires_at"] = spell_time(key.retires_at)
    return view


ENDPOINTS = (list_keys, rotate_keys, retire_key)
