"""When a client was last used, for operators: read from what is on record anyway."""

import pytest

from authserver.tokens.usage import find_last_used
from server.tests.wire.harness import Wire

pytestmark = pytest.mark.anyio


async def test_the_last_use_is_the_last_authorization_or_token(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    assert await find_last_used(wire.core.db, client_id) is None
    await wire.sign_in()
    await wire.authorize(client_id)
    assert await find_last_used(wire.core.db, client_id) == now
    wire.clock.seconds += 60
    tokens = await wire.tokens(client_id)
    assert await find_last_used(wire.core.db, client_id) == now + 60
    wire.clock.seconds += 3600
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    assert await find_last_used(wire.core.db, client_id) == now + 3660
