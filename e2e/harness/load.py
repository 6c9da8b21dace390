"""Clients that authorize, redeem and refresh without pause, and remember every answer they got."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2

from e2e.harness.oauth_client import Code, OAuthClient
from e2e.harness.person import Person, answer_of

PATIENCE_SECONDS = 30
_REFRESHES = 4
_PAUSE_SECONDS = 0.1
_TRIES = 300


@dataclass(slots=True)
class Session:
    """One code and what became of it, as its client saw it.

    Attributes:
        pending: The form whose answer never came.
        answers: Bodies of successful answers: the redemption's, then those of refreshes.
        seen: All that happened, for the message of a failure.
    """

    code: Code
    pending: dict[str, str] | None = None
    answers: list[dict[str, str]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    @property
    def newest(self) -> str:
        """The refresh token to use next."""
        return self.answers[-1]["refresh_token"]

    def story(self) -> str:
        """Return what this client saw, in order."""
        return f"client with code {self.code.value[:8]}…: " + ", ".join(self.seen)


class Load:
    """Clients at work.

    Args:
        client: Whose requests they send.
        person: Has allowed the client already.
        tolerates: Called with each answer that is not a success; raises when it should not have come.
        insists: Whether a form that was refused goes out again; otherwise its client begins anew.
    """

    def __init__(
        self,
        client: OAuthClient,
        person: Person,
        *,
        tolerates: Callable[[httpx2.Response], None] | None = None,
        insists: bool = True,
    ) -> None:
        self._client = client
        self._cookies = person.cookies()
        self._tolerates = tolerates
        self._insists = insists
        self._stopped = asyncio.Event()
        self.sessions: list[Session] = []
        self.answered = 0
        self.refused = 0
        self.lost = 0

    def stop(self) -> None:
        """Have every client end with the request it has under way."""
        self._stopped.set()

    async def run(self, clients: int, *, on_answer: Callable[[int], None] | None = None) -> None:
        """Run until stopped, or until each client lost an answer.

        Args:
            clients: How many at once.
            on_answer: Is told the number of successful answers so far, after each.
        """
        limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
        async with httpx2.AsyncClient(
            timeout=PATIENCE_SECONDS, limits=limits, cookies=self._cookies, verify=False
        ) as http:
            await asyncio.gather(*(self._work(http, on_answer) for _ in range(clients)))

    async def send(self, http: httpx2.AsyncClient, session: Session, form: dict[str, str]) -> bool:
        """Send a form until it succeeds; False when its answer was lost, the load ends, or a refusal is taken for good.

        A refusal that is tolerated says that nothing was spent: the same form goes out again, as the retry guide has it.
        """
        kind = form["grant_type"]
        for _ in range(_TRIES):
            try:
                answer = await http.post(f"{self._client.issuer}/oauth/token", data=form)
            except httpx2.HTTPError as exc:
                session.pending = form
                session.seen.append(f"{kind}: lost ({type(exc).__name__})")
                self.lost += 1
                return False
            session.seen.append(f"{kind}: {answer.status_code}")
            if answer.status_code == 200:
                session.pending = None
                session.answers.append(answer.json())
                return True
            self._take_refusal(answer, session.story())
            if self._stopped.is_set() or not self._insists:
                return False
            await self._pause()
        raise AssertionError(f"never answered; {session.story()}")

    async def _work(self, http: httpx2.AsyncClient, on_answer: Callable[[int], None] | None) -> None:
        while not self._stopped.is_set():
            code = await self._authorize(http)
            if code is None:
                return
            session = Session(code)
            self.sessions.append(session)
            form = self._client.redemption(code)
            for _ in range(1 + _REFRESHES):
                if not await self.send(http, session, form):
                    if session.pending is not None and self._tolerates is None:
                        return
                    break
                self.answered += 1
                if on_answer is not None:
                    on_answer(self.answered)
                if self._stopped.is_set():
                    return
                form = self._client.refresh(session.newest)

    async def _authorize(self, http: httpx2.AsyncClient) -> Code | None:
        """Get a code, which the remembered consent gives at once; None when the server is gone."""
        while not self._stopped.is_set():
            verifier = secrets.token_urlsafe(32)
            try:
                answer = await http.get(self._client.authorization_url(verifier))
            except httpx2.HTTPError:
                self.lost += 1
                if self._tolerates is None:
                    return None
                await self._pause()
                continue
            parameters = answer_of(answer.headers["location"]) if answer.is_redirect else {}
            if "code" in parameters:
                return Code(parameters["code"], verifier)
            self._take_refusal(answer, "authorize")
            await self._pause()
        return None

    def _take_refusal(self, answer: httpx2.Response, story: str) -> None:
        assert self._tolerates is not None, f"{answer.status_code}: {answer.text}; {story}"
        self.refused += 1
        try:
            self._tolerates(answer)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{story}") from exc

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._stopped.wait(), _PAUSE_SECONDS)
        except TimeoutError:
            return
