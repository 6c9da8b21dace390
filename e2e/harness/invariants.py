"""What must hold after any crash or fault: nothing spent twice, no family lost, nothing answered that is not stored."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Sequence

import httpx2

from e2e.harness.inspection import Inspection
from e2e.harness.load import Session
from e2e.harness.oauth_client import OAuthClient

_AT_ONCE = 16
_FAMILY = "family="
_QUERIES = (
    "SELECT id, consumed_at FROM authorizations",
    "SELECT authorization_id, count(*), count(consumed_at) FROM refresh_tokens GROUP BY authorization_id",
    "SELECT authorization_id, count(*) FROM issuances WHERE authorization_id IS NOT NULL GROUP BY authorization_id",
    "SELECT action, detail, count(*) FROM audit_events WHERE action LIKE 'token.%ed' GROUP BY action, detail",
)


async def find_half_written(inspection: Inspection) -> list[str]:
    """Return what is stored in part only; all rows of a redemption, or of a refresh, are there or none.

    A redeemed code is a family with one live refresh token, an issuance for each of its tokens, one ``token.issued`` and
    one ``token.refreshed`` for each further token. A code that was not redeemed has none of these.
    """
    authorizations, tokens, issued, audited = await inspection.rows(*_QUERIES)
    redeemed = {bytes(identifier) for identifier, consumed_at in authorizations if consumed_at is not None}
    refresh_tokens = {bytes(identifier): (count, consumed) for identifier, count, consumed in tokens}
    issuances = {bytes(identifier): count for identifier, count in issued}
    events = {
        (action, _unspelled(detail.removeprefix(_FAMILY))): count
        for action, detail, count in audited
        if action in {"token.issued", "token.refreshed"}
    }
    wrong = await inspection.damage()
    for identifier in redeemed:
        count, consumed = refresh_tokens.get(identifier, (0, 0))
        expected = (count - 1, count, 1, count - 1)
        stored = (
            consumed,
            issuances.get(identifier, 0),
            events.get(("token.issued", identifier), 0),
            events.get(("token.refreshed", identifier), 0),
        )
        if count == 0 or stored != expected:
            wrong.append(
                f"family {identifier.hex()} with {count} refresh tokens: (consumed, issuances, issued, refreshed)"
                f" is {stored}, not {expected}"
            )
    others = refresh_tokens.keys() | issuances.keys() | {identifier for _, identifier in events}
    return wrong + [f"rows of {identifier.hex()}, which was never redeemed" for identifier in others - redeemed]


async def find_unstored(inspection: Inspection, sessions: Sequence[Session]) -> list[str]:
    """Return the answered tokens that have no row, and the clients that were given the same token twice."""
    issued, tokens = await inspection.rows(
        "SELECT id, token_digest FROM issuances", "SELECT token_hash FROM refresh_tokens"
    )
    issuances = {(bytes(identifier), bytes(digest)) for identifier, digest in issued}
    hashes = {bytes(token_hash) for (token_hash,) in tokens}
    wrong = []
    for session in sessions:
        for answer in session.answers:
            access_token = answer["access_token"]
            digest = hashlib.sha256(access_token.encode()).digest()
            if (_unspelled(claims_of(access_token)["jti"]), digest[:16]) not in issuances:
                wrong.append(f"an answered access token has no issuance; {session.story()}")
            if hashlib.sha256(answer["refresh_token"].encode()).digest() not in hashes:
                wrong.append(f"an answered refresh token is not stored; {session.story()}")
    return wrong


async def check_recovered(
    inspection: Inspection, client: OAuthClient, sessions: Sequence[Session], *, resource_client: tuple[str, str]
) -> None:
    """Check everything that a crash or fault may not have touched, and that every client can go on.

    Args:
        inspection: The database, whose server serves again.
        client: Whose sessions these are.
        sessions: Every one since the last check.
        resource_client: Id and secret of the client that may introspect.
    """
    wrong = [*await find_half_written(inspection), *await find_unstored(inspection, sessions)]
    redeemed = await _redeemed_codes(inspection)
    gate = asyncio.Semaphore(_AT_ONCE)
    async with httpx2.AsyncClient(timeout=20, verify=False) as http:

        async def examine(session: Session) -> list[str]:
            async with gate:
                found = await _find_inactive(http, client, session, resource_client)
                return found + await _find_stuck(http, client, session, redeemed)

        for found in await asyncio.gather(*map(examine, sessions)):
            wrong += found
    wrong += await find_half_written(inspection)
    assert not wrong, "\n".join(wrong[:20])


async def _redeemed_codes(inspection: Inspection) -> set[bytes]:
    (rows,) = await inspection.rows("SELECT code_hash FROM authorizations WHERE consumed_at IS NOT NULL")
    return {bytes(code_hash) for (code_hash,) in rows}


async def _find_inactive(
    http: httpx2.AsyncClient, client: OAuthClient, session: Session, resource_client: tuple[str, str]
) -> list[str]:
    """Introspect what the client was answered last."""
    wrong = []
    for answer in session.answers[-2:]:
        form = {"token": answer["access_token"]}
        said = await http.post(f"{client.issuer}/oauth/introspect", data=form, auth=resource_client)
        if said.status_code != 200 or said.json()["active"] is not True:
            wrong.append(f"an answered access token is not active: {said.text}; {session.story()}")
    return wrong


async def _find_stuck(
    http: httpx2.AsyncClient, client: OAuthClient, session: Session, redeemed: set[bytes]
) -> list[str]:
    """Go on where the client was cut off; say if it cannot.

    A refresh may be repeated, whether it was committed or not. A code may be redeemed unless it was: then the family that
    nobody was told of is whole, and a repeat is a replay.
    """
    if session.answers:
        said = await _ask(http, client, client.refresh(session.newest))
        if said.status_code != 200:
            return [f"the family is lost: {said.text}; {session.story()}"]
        session.answers.append(said.json())
        return []
    is_spent = hashlib.sha256(session.code.value.encode()).digest() in redeemed
    if is_spent and session.pending is None:
        return [f"the code was spent without a word; {session.story()}"]
    said = await _ask(http, client, client.redemption(session.code))
    expected = (400, "invalid_grant") if is_spent else (200, None)
    if (said.status_code, said.json().get("error")) != expected:
        return [f"the code is {'spent' if is_spent else 'unspent'} and answered {said.text}; {session.story()}"]
    return []


async def _ask(http: httpx2.AsyncClient, client: OAuthClient, form: dict[str, str]) -> httpx2.Response:
    return await http.post(f"{client.issuer}/oauth/token", data=form)


def claims_of(access_token: str) -> dict[str, str]:
    """Return what a token says, unverified."""
    claims: dict[str, str] = json.loads(_unspelled(access_token.split(".")[1]))
    return claims


def _unspelled(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
