"""How fresh a sign-in a request wants (``prompt``, ``max_age``), and how the browser gets to the login page and back.

A user who was sent to sign in comes back with ``sign_in_since``, the second they were sent: whoever signed in since then
has done what the request wanted, however long it took them, and is not asked twice. It carries no signature, for it opens
nothing: who can write it can as well leave out ``prompt``.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from authserver.authorization.request import parse_prompt
from authserver.login.records import LoginSession
from authserver.protocol.errors import InvalidRequest
from authserver.web.forms import Form

SINCE = "sign_in_since"

_SIGN_IN_PROMPTS = frozenset({"login", "select_account"})
_SECONDS = re.compile(r"[0-9]{1,10}")
# Processes on different machines take the time from different clocks.
_CLOCK_SKEW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInDemand:
    """What a request says about the sign-in it wants.

    Attributes:
        prompt: The words that mean something here.
        max_age: The most seconds since the user signed in, or None; 0 always wants a new sign-in.
        since: When this request sent its user to sign in, or None.
    """

    prompt: frozenset[str]
    max_age: int | None
    since: int | None

    def is_met(self, session: LoginSession, *, now: int) -> bool:
        """Whether the user need not sign in anew for this request."""
        if self.since is not None:
            return session.authenticated_at >= self.since - _CLOCK_SKEW
        if self.prompt & _SIGN_IN_PROMPTS or self.max_age == 0:
            return False
        return self.max_age is None or now - session.authenticated_at <= self.max_age


def read_demand(form: Form, *, now: int) -> SignInDemand:
    """Return what a request says about the sign-in it wants (OpenID Connect Core §3.1.2.1).

    Raises:
        InvalidRequest: ``prompt`` contradicts itself, or ``max_age`` is no number of seconds.
    """
    max_age = form.get("max_age")
    if max_age is not None and _SECONDS.fullmatch(max_age) is None:
        raise InvalidRequest("max_age must be a number of seconds", reason="max_age_malformed")
    since = form.get(SINCE)
    # One of the future would never be met: it is no mark of ours.
    is_ours = since is not None and _SECONDS.fullmatch(since) is not None and int(since) <= now + _CLOCK_SKEW
    return SignInDemand(
        prompt=parse_prompt(form),
        max_age=None if max_age is None else int(max_age),
        since=int(since) if since is not None and is_ours else None,
    )


def mark_query(query: bytes, demand: SignInDemand, *, now: int) -> str:
    """Return the query of a request that is sent to sign in, as it shall come back: marked with the time, in safe ASCII."""
    pairs = [pair for pair in query.split(b"&") if pair.partition(b"=")[0] != SINCE.encode()]
    pairs.append(f"{SINCE}={now if demand.since is None else demand.since}".encode())
    # Bytes that no URL holds unescaped would not pass for a safe path on the way back.
    return quote(b"&".join(pairs), safe="%&=+!$'()*,/:;?@-._~")
