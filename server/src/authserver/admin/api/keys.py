"""``/admin/keys`` (admin API, 12)."""

from collections.abc import Iterable
from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, endpoint
from authserver.admin.records import Role
from authserver.keys.keystore import KeyInUse, KeyStoreError, UnknownKey
from authserver.keys.records import KeyListing
from authserver.protocol.operator_errors import Conflict, Failed, NotFound
from authserver.protocol.times import spell_time


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
    return build_key_list((await call.parts.keys()).list_keys(now=call.now))


@endpoint("POST", "/admin/keys/rotate", role=Role.OWNER)
async def rotate_keys(call: Call[None]) -> RotatedKey:
    """Put a new key in front; it signs as soon as every process publishes it."""
    keys = await call.parts.keys()
    try:
        key = await keys.rotate(now=call.now, operator=call.operator.name)
    except KeyStoreError as exc:
        raise Failed("key rotation failed") from exc
    return RotatedKey(kid=key.kid, alg=key.alg)


@endpoint("POST", "/admin/keys/{kid}/retire", role=Role.OWNER, status=204, refusals=(404, 409))
async def retire_key(call: Call[None]) -> None:
    """Publish a key no more: nobody takes what it signed any longer. Not the one that signs."""
    keys = await call.parts.keys()
    try:
        await keys.retire(call.path["kid"], now=call.now, operator=call.operator.name)
    except UnknownKey as exc:
        raise NotFound(str(exc)) from exc
    except KeyInUse as exc:
        raise Conflict(str(exc), **({} if exc.seconds is None else {"retry_after": exc.seconds})) from exc
    except KeyStoreError as exc:
        raise Failed("key retirement failed") from exc


def build_key_list(keys: Iterable[KeyListing]) -> KeyList:
    """Return keys as operators are shown them."""
    return KeyList(keys=[_view(key) for key in keys])


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
