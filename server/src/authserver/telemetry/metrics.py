"""The metrics: every instrument of the contract with its labels, declared once and present from the start.

Names and labels are interface, and so are the label values: what is not of a closed set counts as ``other``. Children are
bound once, because binding costs more than counting.
"""

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import prometheus_client
import prometheus_client.values
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client import Gauge as _PrometheusGauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from authserver.telemetry import counting
from authserver.telemetry import label_values as values
from authserver.telemetry.sharing import number_class, read_shared, shares, use_share

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
OTHER = "other"

_PRECREATED_CHILDREN = 64
_OPEN_CHILDREN = 4096

Child = TypeVar("Child", counting.Counter, counting.Histogram, _PrometheusGauge)
Labels = dict[str, frozenset[str] | None]
"""Label name to the closed set of its values; None for operator-named ones (slugs, route templates)."""

GRANT_TYPES = None
"""The values are those of the table of grants, which is above this package and has them present from the start."""

# A second series per counter that says when it was created is no part of the contract.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it so

# Each instrument asks there for its numbers when it is made.
prometheus_client.values.ValueClass = number_class()

REGISTRY = CollectorRegistry()
COUNTING_SINCE = time.time_ns()
"""When this server began to count; workers have it from the process that they were forked from."""


class _Family(Generic[Child]):
    """The children of one instrument, by their label values in the order of declaration."""

    def __init__(self, parent: Child, labels: Labels) -> None:
        self._parent: Child = parent
        self._labels = labels
        self._children: dict[tuple[str, ...], Child] = {}
        if not labels:
            self._children[()] = parent
        closed = [sorted(allowed) for allowed in labels.values() if allowed is not None]
        if closed and len(closed) == len(labels) and math.prod(map(len, closed)) <= _PRECREATED_CHILDREN:
            # `rate` misses the first increment of a series that did not exist before.
            for combination in itertools.product(*closed):
                self.child(*combination)

    def child(self, *label_values: str) -> Child:
        """Return the child for these label values, to keep where the same ones are used again and again."""
        child = self._children.get(label_values)
        return child if child is not None else self._bind(label_values)

    def _bind(self, label_values: tuple[str, ...]) -> Child:
        """Bind a child. Neither an undeclared value nor a flood of names may grow the series without bound."""
        full = len(self._children) >= _OPEN_CHILDREN
        named = tuple(
            OTHER if (full if allowed is None else value not in allowed) else value
            for value, allowed in zip(label_values, self._labels.values(), strict=True)
        )
        child = self._children.get(named)
        if child is None:
            child = self._children[named] = self._parent.labels(*named)
        return child


class Instrument:
    """What all have.

    Attributes:
        name: As it is scraped, without what histograms append.
        documentation: What it means.
        labels: Its labels with their values.
    """

    def __init__(self, name: str, documentation: str, labels: Labels | None = None) -> None:
        self.name = name
        self.documentation = documentation
        self.labels = labels or {}


class Counter(Instrument):
    """Counts events.

    Args:
        known: Of the one label without a closed set: values that are there from the start.
    """

    def __init__(
        self, name: str, documentation: str, labels: Labels | None = None, *, known: frozenset[str] = frozenset()
    ) -> None:
        super().__init__(name, documentation, labels)
        parent = counting.Counter(name, documentation, tuple(self.labels), registry=REGISTRY)
        self.child = _Family(parent, self.labels).child
        for value in sorted(known):
            self.child(value)

    def inc(self, *label_values: str) -> None:
        """Count one event with these label values, in the order of declaration."""
        self.child(*label_values).inc()


class Histogram(Instrument):
    """Measures durations in seconds."""

    def __init__(self, name: str, documentation: str, labels: Labels | None = None) -> None:
        super().__init__(name, documentation, labels)
        parent = counting.Histogram(name, documentation, tuple(self.labels), buckets=BUCKETS, registry=REGISTRY)
        self.child = _Family(parent, self.labels).child

    def observe(self, seconds: float, *label_values: str) -> None:
        """Record a duration with these label values, in the order of declaration."""
        self.child(*label_values).observe(seconds)


class Gauge(Instrument):
    """Shows a count of rows in the database, which survives restarts and is the same on every instance."""

    def __init__(self, name: str, documentation: str, labels: Labels | None = None) -> None:
        super().__init__(name, documentation, labels)
        parent = _PrometheusGauge(
            name, documentation, tuple(self.labels), registry=REGISTRY, multiprocess_mode="mostrecent"
        )
        self.child = _Family(parent, self.labels).child

    def set(self, value: float, *label_values: str) -> None:
        """Show what was counted last."""
        self.child(*label_values).set(value)


class _Totals(Collector):
    """What all processes counted together."""

    def collect(self) -> Iterator[Metric]:
        return read_shared(REGISTRY.collect())


def collect() -> Iterable[Metric]:
    """Return all metrics as they are at this moment; those of all processes that share them."""
    return read_shared(REGISTRY.collect()) if shares() else REGISTRY.collect()


def scrape() -> bytes:
    """Return all metrics in Prometheus' text format, of type ``CONTENT_TYPE``; those of all processes that share them."""
    if not shares():
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    together.register(_Totals())
    return generate_latest(together)


def create_shares() -> None:
    """Have every process's part stand there with all instruments at 0, so that none is read half written."""
    for number in shares():
        use_share(number)


# Counters: the core.

TOKENS_ISSUED = Counter(
    "authserver_tokens_issued_total", "Token responses produced, refreshes apart", {"grant_type": GRANT_TYPES}
)
TOKENS_REFRESHED = Counter("authserver_tokens_refreshed_total", "Refreshes that succeeded")
TOKENS_REVOKED = Counter(
    "authserver_tokens_revoked_total", "Revocations that changed something", {"reason": values.REVOCATIONS}
)
AUTH_DENIED = Counter("authserver_auth_denied_total", "Authentications refused", {"reason": values.AUTH_DENIALS})
AUDIT_EVENTS_DROPPED = Counter(
    "authserver_audit_events_dropped_total", "Audit events that only the log knows", {"action": None}
)
AUDIT_ROWS_SEALED = Counter("authserver_audit_rows_sealed_total", "Audit rows that a signed checkpoint lists")
AUDIT_EVENTS_DELIVERED = Counter(
    "authserver_audit_events_delivered_total",
    "Audit events that a destination acknowledged",
    {"destination": values.AUDIT_DESTINATIONS},
)
AUDIT_DELIVERY_FAILURES = Counter(
    "authserver_audit_delivery_failures_total",
    "Batches of audit events that were not acknowledged",
    {"destination": values.AUDIT_DESTINATIONS, "cause": values.DELIVERY_FAILURES},
)
TELEMETRY_DROPPED = Counter(
    "authserver_telemetry_dropped_total",
    "Spans and log lines that no collector took in time",
    {"signal": values.SIGNALS},
)
REFUSAL_TRACES_DROPPED = Counter(
    "authserver_refusal_traces_dropped_total", "Refusals whose reference id explains nothing, for want of room"
)
CLIENTS_REGISTERED = Counter(
    "authserver_clients_registered_total", "Clients created", {"source": frozenset({"dcr", "admin", "cimd"})}
)
CIMD_FETCH_SUPPRESSED = Counter(
    "authserver_cimd_fetch_suppressed_total",
    "Fetches of client metadata documents that were avoided",
    {"reason": frozenset({"negative_cache", "single_flight", "capacity"})},
)
CONSENT_DECISIONS = Counter(
    "authserver_consent_decisions_total",
    "Consent forms submitted",
    {"decision": frozenset({"granted", "denied"})},
)
LOGIN_ATTEMPTS = Counter(
    "authserver_login_attempts_total", "Logins finished", {"result": frozenset({"success", "failure"})}
)
REFRESH_TOKEN_REUSE = Counter(
    "authserver_refresh_token_reuse_total", "Spent refresh tokens that came back and were no retry"
)
REFRESH_TOKEN_RETRIES = Counter(
    "authserver_refresh_token_retries_total", "Just-rotated refresh tokens that got the same answer again"
)
AUTH_CODE_REUSE = Counter(
    "authserver_auth_code_reuse_total",
    "Spent authorization codes that came back",
    {"verifier": frozenset({"valid", "invalid"})},
)
REVOCATION_FAILURES = Counter(
    "authserver_revocation_failures_total",
    "Halves of a reuse response that failed",
    {"path": frozenset({"reuse", "code_reuse"}), "half": frozenset({"family", "jti"})},
)
OIDC_JWKS_CACHE_HITS = Counter("authserver_oidc_jwks_cache_hits_total", "Upstream login keys served from cache")
OIDC_JWKS_CACHE_MISSES = Counter("authserver_oidc_jwks_cache_misses_total", "Upstream login keys fetched")
INTROSPECTION = Counter(
    "authserver_introspection_total",
    "Introspections answered",
    {"result": frozenset({"active", "inactive", "error"})},
)
KEY_ROTATION = Counter("authserver_key_rotation_total", "Rotations of the signing key")
UPSTREAM_TOKEN_ISSUED = Counter(
    "authserver_upstream_token_issued_total", "Upstream tokens vended", {"provider": None, "resource": None}
)
UPSTREAM_TOKEN_REFRESH = Counter(
    "authserver_upstream_token_refresh_total",
    "Stored upstream credentials refreshed",
    {"provider": None, "outcome": frozenset({"success", "error"})},
)
CONNECTION_CONNECT = Counter(
    "authserver_connection_connect_total", "Upstream connections completed", {"provider": None}
)
CONNECTION_DISCONNECT = Counter(
    "authserver_connection_disconnect_total", "Upstream connections removed", {"provider": None}
)
ENCRYPT_ERRORS = Counter(
    "authserver_encrypt_errors_total",
    "Data-encryption failures",
    {"driver": values.ENCRYPTORS, "operation": values.ENCRYPTIONS, "error_type": values.ENCRYPTION_ERRORS},
)
HTTP_REQUESTS = Counter(
    "authserver_http_requests_total",
    "HTTP requests, both listeners",
    {"http_method": values.HTTP_METHODS, "http_route": None, "http_status_code": None},
)
CONNECTIONS_ENDED = Counter(
    "authserver_connections_ended_total",
    "Connections that the server ended without an answer",
    {"reason": values.CONNECTION_ENDS},
)

# Counters: later subsystems, which came with another prefix.

CLIENT_CREDENTIALS_ISSUED = Counter(
    "authplane_client_credentials_issued_total", "Tokens issued to clients for themselves"
)
CLIENT_CREDENTIALS_DENIED = Counter(
    "authplane_client_credentials_denied_total",
    "Tokens refused to clients for themselves",
    {"reason": None},
    known=values.CLIENT_DENIALS,
)
DPOP_PROOFS_VALIDATED = Counter(
    "authplane_dpop_proofs_validated_total", "Proofs of possession accepted", {"result": frozenset({"valid"})}
)
DPOP_PROOFS_REJECTED = Counter(
    "authplane_dpop_proofs_rejected_total", "Proofs of possession refused", {"reason": values.DPOP_REJECTIONS}
)
TOKEN_EXCHANGE = Counter(
    "authplane_token_exchange_total",
    "Token exchanges that succeeded",
    {"type": values.EXCHANGE_TYPES, "kind": values.EXCHANGE_KINDS, "source": None, "target": None},
)
TOKEN_EXCHANGE_DENIED = Counter(
    "authplane_token_exchange_denied_total",
    "Token exchanges refused",
    {"reason": None},
    known=values.EXCHANGE_DENIALS,
)
AGENT_TOKENS_ISSUED = Counter(
    "authplane_agent_tokens_issued_total",
    "Tokens that carry an agent's identity",
    {"has_chain": frozenset({"true", "false"})},
)
XAA_POLICY_EVALUATION = Counter(
    "authplane_xaa_policy_evaluation_total",
    "Cross-app access policies evaluated",
    {"result": frozenset({"allowed", "denied"})},
)
XAA_IDP_OPERATIONS = Counter(
    "authplane_xaa_idp_operations_total",
    "Operations on the registry of trusted identity providers",
    {"operation": frozenset({"register", "delete"})},
)
XAA_SUBJECT_RESOLUTIONS = Counter(
    "authplane_xaa_subject_resolutions_total",
    "Subjects of assertions resolved",
    {"result": frozenset({"mapped", "denied", "auto_map"})},
)
RESOURCE_SERVER_OPS = Counter(
    "authplane_resource_server_ops_total", "Operations on resources", {"op": values.OPERATIONS}
)
ALLOWLIST_OPS = Counter("authplane_allowlist_ops_total", "Operations on allow-lists", {"op": values.OPERATIONS})

# Histograms.

TOKEN_ISSUANCE_DURATION = Histogram(
    "authserver_token_issuance_duration_seconds",
    "Grants that succeeded, from start to finished response",
    {"grant_type": GRANT_TYPES},
)
AUTH_FLOW_DURATION = Histogram("authserver_auth_flow_duration_seconds", "From the pending authorization to its code")
CIMD_FETCH_DURATION = Histogram("authserver_cimd_fetch_duration_seconds", "Round trips for client metadata documents")
DB_OPERATION_DURATION = Histogram(
    "authserver_db_operation_duration_seconds",
    "Storage operations",
    {"operation": None, "store": frozenset({"postgres", "sqlite"})},
)
OIDC_EXCHANGE_DURATION = Histogram(
    "authserver_oidc_exchange_duration_seconds", "Upstream code exchanges with the check of the ID token"
)
INTROSPECTION_DURATION = Histogram("authserver_introspection_duration_seconds", "Introspections")
KEY_RELOAD_DURATION = Histogram("authserver_key_reload_duration_seconds", "Reloads of the published keys")
UPSTREAM_TOKEN_ISSUANCE_DURATION = Histogram(
    "authserver_upstream_token_issuance_duration_seconds", "Vending of upstream tokens", {"provider": None}
)
ENCRYPT_DURATION = Histogram(
    "authserver_encrypt_duration_seconds",
    "Encryptions and decryptions that succeeded",
    {"driver": values.ENCRYPTORS, "operation": values.ENCRYPTIONS},
)
HTTP_REQUEST_DURATION = Histogram(
    "authserver_http_request_duration_seconds",
    "HTTP requests, both listeners",
    {"http_method": values.HTTP_METHODS, "http_route": None, "http_status_code": None},
)

_answers: dict[tuple[str, str, int], tuple[counting.Counter, counting.Histogram]] = {}


def count_answer(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer to an HTTP request, and how long it took."""
    key = method, route, status
    bound = _answers.get(key)
    if bound is None:
        # Of each route there are few; where there is no room for more series, they share one.
        labels = method, route, str(status)
        bound = _answers[key] = HTTP_REQUESTS.child(*labels), HTTP_REQUEST_DURATION.child(*labels)
    bound[0].inc()
    bound[1].observe(seconds)


# Gauges. A destination that is not configured is not shown.

ACTIVE_CLIENTS = Gauge("authserver_active_clients", "Active registered clients")
ACTIVE_TOKEN_FAMILIES = Gauge("authserver_active_token_families", "Token families that are not revoked")
AUDIT_DELIVERY_PENDING = Gauge(
    "authserver_audit_delivery_pending",
    "Sealed audit events that a destination does not have yet",
    {"destination": None},
)
AUDIT_DELIVERY_LAG = Gauge(
    "authserver_audit_delivery_lag_seconds",
    "Age of the first audit event that a destination does not have yet",
    {"destination": None},
)
