"""A scene of the acceptance scenarios: a running installation, a person, what is set up, asked and answered.

Resources and clients are new in each scene, and the person signs in anew, so that any number of scenes share an
installation in any order.
"""

import re
import secrets
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt

from e2e.harness.inspection import Inspection
from e2e.harness.installation import KNOWN_WITHIN_SECONDS, Account, Installation, Machine, found
from e2e.harness.oauth_client import REDIRECT_URI, Code, OAuthClient
from e2e.harness.person import Person, answer_of
from e2e.harness.processes import free_port, wait_until
from e2e.harness.proof_key import ProofKey

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
REQUEST_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Resource:
    """A registered Resource."""

    id: str
    slug: str
    uri: str


class Scene:
    """Who acts, and what may not be found afterwards in what the server writes."""

    def __init__(self, installation: Installation, account: Account) -> None:
        self.installation = installation
        self.issuer = installation.issuer
        self.inspection = Inspection(installation.environment)
        self.alice = Person(account, issuer=self.issuer)
        self.secrets = {account.email, account.password}
        self._suffix = uuid.uuid4().hex[:6]

    def slug(self, name: str) -> str:
        """Return what a Resource of the scenario is called in this scene."""
        return f"{name}-{self._suffix}"

    def resource(self, name: str, *scopes: str, runtime: Machine | None = None) -> Resource:
        """Register a Resource, and wait until the running server knows it."""
        slug = self.slug(name)
        uri = f"https://{slug}.example.com"
        options = [part for scope in scopes for part in ("--scopes", scope)]
        if runtime is not None:
            options += ["--policy-runtime-client-ids", runtime.client_id]
        made = ("admin", "resource", "create", "--slug", slug, "--backend-kind", "mint", "--uri", uri)
        printed = self.installation.run(*made, *options)
        document = f"{self.issuer}/.well-known/oauth-protected-resource/{slug}"
        wait_until(
            lambda: httpx2.get(document, timeout=REQUEST_SECONDS).status_code == 200,
            seconds=KNOWN_WITHIN_SECONDS,
            what=f"{slug} is known",
        )
        return Resource(found(r"\bid=(\S+)", printed), slug, uri)

    def link(self, source: str, target: str, scope_map: str) -> None:
        """Let the gateway of one slug exchange for another; the running server may not know it yet."""
        ends = ("--source", source, "--target", target)
        self.installation.run("admin", "fronting", "create", *ends, "--scope-map", scope_map)

    def client(self, name: str, *options: str) -> Machine:
        """Create a client with a secret; one that may exchange, unless options say otherwise."""
        printed = self.installation.run(
            *("admin", "client", "create", "--name", name, "--auth-method", "client_secret_basic"),
            *("--redirect-uris", REDIRECT_URI, *(options or ("--grant-types", EXCHANGE))),
        )
        made = Machine(found(r"\bid=(\S+)", printed), found(r"client_secret=(\S+)", printed), "client_secret_basic")
        self.secrets.add(str(made.secret))
        return made

    def machine(self, scope: str) -> Machine:
        """Create a client that acts by itself."""
        machine = self.installation.create_machine(scope)
        self.secrets.add(str(machine.secret))
        return machine

    def agent(self, uri: str, *options: str) -> OAuthClient:
        """Create the public client that wants tokens for a Resource."""
        created = self.installation.run(
            *("admin", "client", "create", "--name", "my-agent", "--auth-method", "none"),
            *("--redirect-uris", REDIRECT_URI, *options),
        )
        return OAuthClient(self.issuer, resource=uri, client_id=found(r"\bid=(\S+)", created))

    def with_browser(self, machine: Machine, uri: str) -> OAuthClient:
        """Return a client with a secret as one that sends its user to sign in."""
        return OAuthClient(self.issuer, resource=uri, client_id=machine.client_id, secret=machine.secret)

    def authorize(self, client: OAuthClient, *, only: Collection[str] | None = None, **changes: str) -> Code:
        """Have Alice sign in and allow; ``only`` these scopes, or all that are asked for."""
        verifier = secrets.token_urlsafe(32)
        answer = answer_of(self.alice.allow(client.authorization_url(verifier, **changes), only=only))
        assert answer["iss"] == self.issuer
        self.secrets |= {answer["code"], verifier}
        return Code(answer["code"], verifier)

    def redeem(
        self, client: OAuthClient, code: Code, *, key: ProofKey | None = None, origin: str | None = None
    ) -> dict[str, Any]:
        """Return the tokens of a code, bound to a key if there is one."""
        return self.success(self.ask(client.redemption(code), key=key, origin=origin), key=key)

    def tokens_of(
        self,
        client: OAuthClient,
        *,
        key: ProofKey | None = None,
        origin: str | None = None,
        only: Collection[str] | None = None,
        **changes: str,
    ) -> dict[str, Any]:
        """Go the whole way from the client to tokens; ``changes`` are of the authorization request."""
        return self.redeem(client, self.authorize(client, only=only, **changes), key=key, origin=origin)

    def ask(
        self,
        form: dict[str, str],
        *,
        auth: tuple[str, str] | None = None,
        key: ProofKey | None = None,
        origin: str | None = None,
    ) -> httpx2.Response:
        """Send a form to the token endpoint, of the issuer or of another process of it; with a proof if there is a key."""
        headers = {"DPoP": key.proof(f"{self.issuer}/oauth/token")} if key else {}
        return httpx2.post(
            f"{origin or self.issuer}/oauth/token", data=form, auth=auth, headers=headers, timeout=REQUEST_SECONDS
        )

    def exchange(
        self,
        caller: Machine,
        subject_token: str,
        *,
        key: ProofKey | None = None,
        origin: str | None = None,
        **form: str,
    ) -> httpx2.Response:
        """Exchange a token (RFC 8693)."""
        data = {"grant_type": EXCHANGE, "subject_token": subject_token, "subject_token_type": ACCESS_TOKEN, **form}
        return self.ask(data, auth=(caller.client_id, caller.secret or ""), key=key, origin=origin)

    def success(self, answer: httpx2.Response, *, key: ProofKey | None = None) -> dict[str, Any]:
        """Return the body of a token response, which is bound to a key exactly if there is one."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        body: dict[str, Any] = answer.json()
        self.secrets |= {body[name] for name in ("access_token", "refresh_token") if name in body}
        assert body["token_type"] == ("DPoP" if key else "Bearer")
        assert self.claims(body["access_token"]).get("cnf") == ({"jkt": key.jkt} if key else None)
        return body

    async def refused(
        self,
        answer: httpx2.Response,
        status: int,
        error: str,
        reason: str,
        *,
        action: str = "token.exchange_denied",
    ) -> None:
        """Check a refusal and its one audit row."""
        body = answer.json()
        assert (answer.status_code, body["error"]) == (status, error), answer.text
        (rows,) = await self.inspection.rows(
            f"SELECT action, detail FROM audit_events WHERE reference = '{body['reference']}'"
        )
        told = [(str(row[0]), str(row[1])) for row in rows]
        assert told == [(action, f"reason={reason}")], told

    def introspect(self, caller: Machine, token: str) -> dict[str, Any]:
        """Return what a client is told about a token."""
        auth = (caller.client_id, caller.secret or "")
        answer = httpx2.post(
            f"{self.issuer}/oauth/introspect", data={"token": token}, auth=auth, timeout=REQUEST_SECONDS
        )
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def is_active(self, caller: Machine, token: str) -> bool:
        """Whether a client is told that a token is active; if not, it is told nothing else."""
        told = self.introspect(caller, token)
        assert told["active"] or told == {"active": False}
        return bool(told["active"])

    def claims(self, token: str) -> dict[str, Any]:
        """Return what a token of ours says, whoever it is for and however old."""
        return self.verify(token, None)

    def verify(self, token: str, audience: str | None) -> dict[str, Any]:
        """Return the claims of a token as a protected server reads it, with the published keys.

        Args:
            token: What it was shown.
            audience: The URI of the server; None to look into a token that is for another.

        Raises:
            jwt.InvalidTokenError: It is not good there.
        """
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
        published = httpx2.get(f"{self.issuer}/.well-known/jwks.json", timeout=REQUEST_SECONDS).json()["keys"]
        (key,) = [jwt.PyJWK.from_dict(entry) for entry in published if entry["kid"] == header["kid"]]
        checked = audience is not None
        required = ["exp", "iat", "sub", "aud", "jti", "client_id"]
        options: Any = {"require": required, "verify_aud": checked, "verify_exp": checked}
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["ES256"], audience=audience, issuer=self.issuer, options=options
        )
        return claims

    def revoke_consent(self, user_id: str, client_id: str, resource_id: str = r"\S+") -> None:
        """Take back what a user allowed a client at a Resource, as an operator does."""
        listed = self.installation.run("admin", "grant", "list-user-grants", "--user", user_id)
        row = rf"id=(\S+) user_id=\S+ client_id={re.escape(client_id)} resource_id={resource_id} "
        self.installation.run("admin", "grant", "revoke-consent", "--id", found(row, listed))

    @contextmanager
    def another_process(self, **environment: str) -> Iterator[str]:
        """Serve the same installation with other settings beside it; yield where."""
        port = free_port()
        with self.installation.serve(port=port, environment=environment):
            yield f"http://localhost:{port}"

    async def check_discretion(self) -> None:
        """Check that no log line and no audit row holds a secret, code, token or e-mail address (C1)."""
        written: list[str] = []

        def is_logged() -> bool:
            # A line is written a moment after its answer.
            written[:] = [path.read_text() for path in self.installation.directory.glob("serve-*.log")]
            return any('"path":"/oauth/token"' in text for text in written)

        wait_until(is_logged, seconds=KNOWN_WITHIN_SECONDS, what="a request for a token is logged")
        (rows,) = await self.inspection.rows("SELECT * FROM audit_events")
        assert rows
        everything = "\n".join([*written, *(repr(row) for row in rows)])
        assert [secret for secret in self.secrets if secret in everything] == []
