"""How fresh a sign-in a request wants (``prompt``, ``max_age``), and how the browser gets to the login page and back.

A user who was sent to sign in comes back with ``sign_in_since``: the second they were sent, which sign-in they had then,
and a code over both and the request. Whoever has signed in anew since then has done what this request wants, however long
it took them, and is not asked twice. Without the code, or with that of another request, it says nothing.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from authserver.authorization.request import parse_prompt
from authserver.config.sections.listeners import SessionConfig
from authserver.login.macs import Mac
from authserver.login.records import LoginSession
from authserver.protocol.errors import InvalidRequest
from authserver.web.forms import Form

SINCE = "sign_in_since"

_SIGN_IN_PROMPTS = frozenset({"login", "select_account"})
_SECONDS = re.compile(r"[0-9]{1,10}")
_MARK = re.compile(r"(?P<since>[0-9]{1,10})\.(?P<seen>[0-9a-f]*)\.(?P<code>[A-Za-z0-9_-]{43})", re.ASCII)
# Processes on different machines take the time from different clocks.
_CLOCK_SKEW = 30
# The browser comes back at once. Who keeps the address of that moment signs in again with it later.
_WAY_BACK = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInMark:
    """That this very request sent its user to sign in.

    Attributes:
        since: When.
        seen: The id of the sign-in that was not enough; empty when there was none.
    """

    since: int
    seen: str

    def is_answered_by(self, session: LoginSession, *, now: int) -> bool:
        """Whether the user has signed in for it, just now."""
        is_new = session.sign_in_id != self.seen and session.authenticated_at >= self.since - _CLOCK_SKEW
        return is_new and now - session.authenticated_at <= _WAY_BACK + _CLOCK_SKEW


class SignInDemand(NamedTuple):
    """What a request says about the sign-in it wants.

    Attributes:
        prompt: The words that mean something here.
        max_age: The most seconds since the user signed in, or None; 0 always wants a new sign-in.
        mark: What we gave the request when we sent its user to sign in, or None.
    """

    prompt: frozenset[str]
    max_age: int | None
    mark: SignInMark | None

    def is_met(self, session: LoginSession, *, now: int) -> bool:
        """Whether the user need not sign in anew for this request."""
        if self.mark is not None and self.mark.is_answered_by(session, now=now):
            return True
        if self.prompt & _SIGN_IN_PROMPTS or self.max_age == 0:
            return False
        return self.max_age is None or now - session.authenticated_at <= self.max_age


class SignInDemands:
    """Reads what requests demand, and marks those whose user is sent to sign in."""

    def __init__(self, config: SessionConfig) -> None:
        """Take the section ``session``, its secret filled in.

        Raises:
            ValueError: The secret is empty.
        """
        self._mac = Mac(config.secret.reveal().encode(), "sign_in_mark")

    def read(self, form: Form) -> SignInDemand:
        """Return what a request says about the sign-in it wants (OpenID Connect Core §3.1.2.1).

        Raises:
            InvalidRequest: ``prompt`` contradicts itself, or ``max_age`` is no number of seconds.
        """
        max_age = form.get("max_age")
        if max_age is not None and _SECONDS.fullmatch(max_age) is None:
            raise InvalidRequest("max_age must be a number of seconds", reason="max_age_malformed")
        return SignInDemand(
            prompt=parse_prompt(form),
            max_age=None if max_age is None else int(max_age),
            mark=self._read_mark(form),
        )

    def mark(self, query: bytes, form: Form, *, seen: LoginSession | None, now: int) -> str:
        """Return the query of a request that is sent to sign in, as it shall come back: marked, in safe ASCII.

        Args:
            query: As it was sent.
            form: The same, read.
            seen: The session that is not good enough, if there is one.
            now: Seconds since the epoch.
        """
        mark = SignInMark(since=now, seen=seen.sign_in_id if seen else "")
        pairs = [pair for pair in query.split(b"&") if pair.partition(b"=")[0] != SINCE.encode()]
        pairs.append(f"{SINCE}={mark.since}.{mark.seen}.{self._mac.sign(_signed_text(mark, form))}".encode())
        # Bytes that no URL holds unescaped would not pass for a safe path on the way back.
        return quote(b"&".join(pairs), safe="%&=+!$'()*,/:;?@-._~")

    def _read_mark(self, form: Form) -> SignInMark | None:
        sent = form.get(SINCE)
        match = None if sent is None else _MARK.fullmatch(sent)
        if match is None:
            return None
        mark = SignInMark(since=int(match["since"]), seen=match["seen"])
        return mark if self._mac.is_valid(_signed_text(mark, form), match["code"]) else None


def _signed_text(mark: SignInMark, form: Form) -> str:
    return f"{mark.since}.{mark.seen}.{form.spell(without=SINCE)}"
