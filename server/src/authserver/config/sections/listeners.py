"""What listens, and whom it believes: ``server``, ``admin``, ``rate_limit``, ``session``."""

from dataclasses import dataclass
from typing import Annotated

from authserver.config.declaring import FineSeconds, Key, Seconds, StrictSeconds
from authserver.config.durations import HOUR, MINUTE
from authserver.config.secret import NO_SECRET, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The public listener and the name it speaks under."""

    issuer: Annotated[
        str,
        Key(
            "AUTHPLANE_SERVER_ISSUER",
            "Issuer identifier: base of every published endpoint, written byte for byte into `iss`.",
            rule="an `https` URL without query, fragment, user name or trailing slash; `http` on localhost only",
            required=True,
        ),
    ] = "http://localhost:9000"
    allow_insecure_issuer: Annotated[
        bool,
        Key(
            "AUTHPLANE_SERVER_ALLOW_INSECURE_ISSUER",
            "Lets an `http` issuer off localhost start, for closed container networks and laboratories.",
        ),
    ] = False
    root_aliases: Annotated[
        bool,
        Key(
            "AUTHPLANE_SERVER_ROOT_ALIASES",
            "Serves `/token` and `/register` at the root of the origin, for clients that ignore the metadata.",
        ),
    ] = False
    openapi: Annotated[
        bool,
        Key("AUTHPLANE_SERVER_OPENAPI", "Serves the OpenAPI document of the public listener at `/openapi.json`."),
    ] = False
    address: Annotated[
        str,
        Key(
            "AUTHPLANE_SERVER_ADDRESS",
            "Address of the public listener, `host:port`; without a host it listens on all interfaces.",
            rule="differs from `admin.address` while `admin.enabled`",
            required=True,
        ),
    ] = ":9000"
    workers: Annotated[
        str,
        Key(
            "AUTHPLANE_SERVER_WORKERS",
            "Processes that serve together on the same port; `auto` is one for each core, and one on SQLite.",
            rule="more than 1 needs `storage.driver=postgres` and Linux",
            pattern="auto|[1-9][0-9]?",
            blank_is_default=True,
            folded=True,
        ),
    ] = "1"
    read_timeout: Annotated[
        FineSeconds, Key("AUTHPLANE_SERVER_READ_TIMEOUT", "How long a client may take to send its whole request.")
    ] = 30
    write_timeout: Annotated[
        FineSeconds, Key("AUTHPLANE_SERVER_WRITE_TIMEOUT", "How long writing a response may take.")
    ] = 30
    idle_timeout: Annotated[
        FineSeconds, Key("AUTHPLANE_SERVER_IDLE_TIMEOUT", "How long a connection may stay open between requests.")
    ] = 120
    max_connections: Annotated[
        int,
        Key(
            "AUTHPLANE_SERVER_MAX_CONNECTIONS",
            "Connections that each listener serves at once, in each worker. At the bound the client that has been silent"
            " longest makes room; when every one is being served, further ones are answered 503.",
            above=0,
        ),
    ] = 2048
    shutdown_wait: Annotated[
        FineSeconds,
        Key("AUTHPLANE_SERVER_SHUTDOWN_WAIT", "How long both listeners together may drain before the process ends."),
    ] = 10
    allowed_origins: Annotated[
        tuple[str, ...],
        Key(
            "AUTHPLANE_SERVER_ALLOWED_ORIGINS",
            "Origins whose scripts may call token, registration and revocation; empty or `*` is any.",
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Key(
            "AUTHPLANE_SERVER_TRUSTED_PROXIES",
            "Addresses and CIDR ranges of proxies whose `X-Forwarded-For` the public listener believes; without it all"
            " who come through a proxy share its limits.",
            rule="no range that holds every address",
        ),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The operators' listener: admin API, console and metrics."""

    enabled: Annotated[bool, Key("AUTHPLANE_ADMIN_ENABLED", "Opens the second listener, for operators.")] = True
    address: Annotated[
        str,
        Key(
            "AUTHPLANE_ADMIN_ADDRESS",
            "Address of the admin listener, `host:port`.",
            required=True,
            when="admin.enabled",
        ),
    ] = ":9001"
    api_key: Annotated[
        Secret,
        Key(
            "AUTHPLANE_ADMIN_API_KEY",
            "Bearer key of the admin API; on localhost it may be empty, and then every protected route answers 401.",
            rule="in production at least 16 characters; never a well-known value",
        ),
    ] = NO_SECRET
    requests_per_second: Annotated[
        float,
        Key(
            None,
            "Requests a second that one address may send to the admin listener; 0 or less, here or in"
            " `admin.burst`, is no limit.",
        ),
    ] = 0.0
    burst: Annotated[int, Key(None, "Requests that one address may send to the admin listener at once.")] = 0
    audit_default_lookback: Annotated[
        StrictSeconds,
        Key(
            "AUTHPLANE_ADMIN_AUDIT_DEFAULT_LOOKBACK",
            "How far back the audit log is read when the question names no start.",
            rule="at most `admin.audit_max_lookback`",
            above=0,
        ),
    ] = 24 * HOUR
    audit_max_lookback: Annotated[
        StrictSeconds,
        Key("AUTHPLANE_ADMIN_AUDIT_MAX_LOOKBACK", "How far back the audit log can be read at most.", above=0),
    ] = 720 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitConfig:
    """Limits of the public listener, and the lockout of password guessing; the workers of one server count together."""

    enabled: Annotated[
        bool,
        Key("AUTHPLANE_RATE_LIMIT_ENABLED", "Limits the requests of one address; the lockout is independent of it."),
    ] = True
    requests_per_second: Annotated[
        float,
        Key(
            "AUTHPLANE_RATE_LIMIT_RPS",
            "Requests a second that one address may send in the long run, to all workers together. It stands in front of"
            " the limit of a client: behind one shared egress address raise it; behind a proxy set"
            " `server.trusted_proxies`.",
            above=0,
            when="rate_limit.enabled",
        ),
    ] = 100.0
    burst: Annotated[
        int,
        Key(
            "AUTHPLANE_RATE_LIMIT_BURST",
            "Requests that one address may send at once, to all workers together.",
            above=0,
            when="rate_limit.enabled",
        ),
    ] = 200
    client_requests_per_second: Annotated[
        float,
        Key(
            "AUTHPLANE_RATE_LIMIT_CLIENT_RPS",
            "Requests a second that one client may send to the token, introspection and revocation endpoints in the long"
            " run, to all workers together; a public client is counted for each address apart.",
            above=0,
            when="rate_limit.enabled",
        ),
    ] = 100.0
    client_burst: Annotated[
        int,
        Key(
            "AUTHPLANE_RATE_LIMIT_CLIENT_BURST",
            "Requests that one client may send to those endpoints at once.",
            above=0,
            when="rate_limit.enabled",
        ),
    ] = 200
    auth_fail_max: Annotated[
        int,
        Key(
            "AUTHPLANE_RATE_LIMIT_AUTH_FAIL_MAX",
            "Wrong passwords before an account is locked for the address they came from; 0 or less is no lockout.",
            rule="at most 100 while `server.workers` is above 1",
        ),
    ] = 10
    auth_fail_window: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_RATE_LIMIT_AUTH_FAIL_WINDOW",
            "The time within which wrong passwords are counted together.",
            above=0,
            when="rate_limit.auth_fail_max",
        ),
    ] = 10 * MINUTE
    auth_lockout: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_RATE_LIMIT_AUTH_LOCKOUT",
            "How long a lockout lasts.",
            above=0,
            when="rate_limit.auth_fail_max",
        ),
    ] = 15 * MINUTE
    max_tracked_identities: Annotated[
        int,
        Key(
            "AUTHPLANE_RATE_LIMIT_MAX_TRACKED_IDENTITIES",
            "Accounts and addresses whose wrong passwords are remembered at once.",
            least=10_000,
            when="rate_limit.auth_fail_max",
            blank_is_default=True,
        ),
    ] = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """The browser's session with the login pages."""

    cookie_name: Annotated[
        str, Key("AUTHPLANE_SESSION_COOKIE_NAME", "Name of the session cookie.", blank_is_default=True)
    ] = "authserver_session"
    max_age: Annotated[StrictSeconds, Key("AUTHPLANE_SESSION_MAX_AGE", "How long a user stays signed in.", above=0)] = (
        24 * HOUR
    )
    secure: Annotated[
        bool,
        Key(
            "AUTHPLANE_SESSION_SECURE",
            "Marks cookies `Secure` and sends Strict-Transport-Security.",
            rule="true in production",
        ),
    ] = False
    same_site: Annotated[
        str,
        Key(
            "AUTHPLANE_SESSION_SAME_SITE",
            "`SameSite` of the session cookie.",
            choices=("lax", "strict", "none"),
            folded=True,
        ),
    ] = "lax"
    secret: Annotated[
        Secret,
        Key(
            "AUTHPLANE_SESSION_SECRET",
            "Key of session cookies, form tokens and login state; on localhost an empty one is made up at every start.",
            rule="in production at least 16 characters; never a well-known value",
        ),
    ] = NO_SECRET
    fail_closed: Annotated[
        bool,
        Key(
            "AUTHPLANE_SESSION_FAIL_CLOSED",
            "Drops a session whose user cannot be looked up for a fault of the database; false keeps it.",
        ),
    ] = True
