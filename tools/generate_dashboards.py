"""Makes the Grafana dashboards from a table of their panels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

JOB = 'job=~"$job"'
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_ROW_HEIGHT, _STAT_HEIGHT, _GRAPH_HEIGHT = 1, 4, 8

Query = tuple[str, str]
"""PromQL, and the legend of what it returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel. ``width`` is in twenty-fourths of the page."""

    title: str
    queries: Sequence[Query]
    unit: str = "ops"
    width: int = 8
    is_stat: bool = False
    alarm_above: float | None = None


Row = tuple[str, Sequence[Panel]]


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",") if label) or "total"


def rate(name: str, by: str = "", where: str = "") -> Query:
    """A counter's events a second, added up over instances."""
    selector = f"{{{JOB}{', ' + where if where else ''}}}"
    return f"sum{f' by ({by})' if by else ''} (rate({name}{selector}[$__rate_interval]))", _legend(by)


def named(legend: str, query: Query) -> Query:
    """Another legend."""
    return query[0], legend


def recent(name: str, by: str = "") -> Query:
    """A counter's events in the last five minutes."""
    return f"sum{f' by ({by})' if by else ''} (increase({name}{{{JOB}}}[5m]))", _legend(by)


def quantile(q: str, name: str, by: str = "", where: str = "", window: str = "$__rate_interval") -> Query:
    """A quantile of a histogram."""
    selector = f"{{{JOB}{', ' + where if where else ''}}}"
    labels = f"le, {by}" if by else "le"
    legend = f"p{float(q) * 100:g}" + (f" {_legend(by)}" if by else "")
    return f"histogram_quantile({q}, sum by ({labels}) (rate({name}_bucket{selector}[{window}])))", legend


def of_store(name: str, by: str = "") -> Query:
    """A figure that every instance reads from the database: never added up."""
    return f"max{f' by ({by})' if by else ''} ({name}{{{JOB}}})", _legend(by)


def graph(title: str, *queries: Query, unit: str = "ops", width: int = 8) -> Panel:
    """Curves."""
    return Panel(title=title, queries=queries, unit=unit, width=width)


def quantiles(title: str, name: str, by: str = "", where: str = "", width: int = 8) -> Panel:
    """The three usual quantiles of a histogram as curves; with ``by`` p95 and p99 alone."""
    wanted = ("0.95", "0.99") if by else ("0.5", "0.95", "0.99")
    return graph(title, *(quantile(q, name, by, where) for q in wanted), unit="s", width=width)


def stat(title: str, query: Query, *, unit: str = "short", width: int = 6, alarm_above: float | None = None) -> Panel:
    """A figure."""
    return Panel(title=title, queries=[query], unit=unit, width=width, is_stat=True, alarm_above=alarm_above)


_REQUESTS = "authserver_http_requests_total"
_ERRORS = rate(_REQUESTS, where='http_status_code=~"5.."')[0]
# Before the first error there is no such series.
_ERROR_RATIO = (f"({_ERRORS} or vector(0)) / clamp_min({rate(_REQUESTS)[0]}, 1e-9)", "5xx")
_EXCHANGE_ISSUANCE = 'grant_type="token_exchange"'

OVERVIEW: Sequence[Row] = (
    (
        "At a glance",
        (
            stat("Requests", rate(_REQUESTS), unit="reqps"),
            stat("Error ratio", _ERROR_RATIO, unit="percentunit", alarm_above=0.05),
            stat("Active clients", of_store("authserver_active_clients")),
            stat("Active token families", of_store("authserver_active_token_families")),
        ),
    ),
    (
        "Traffic",
        (
            graph("Requests by status", rate(_REQUESTS, "http_status_code"), unit="reqps"),
            graph("Requests by route", rate(_REQUESTS, "http_route"), unit="reqps"),
            graph("Error ratio", _ERROR_RATIO, unit="percentunit"),
        ),
    ),
    (
        "Tokens",
        (
            graph(
                "Tokens by grant",
                rate("authserver_tokens_issued_total", "grant_type"),
                named("refresh_token", rate("authserver_tokens_refreshed_total")),
            ),
            graph("Tokens revoked by reason", rate("authserver_tokens_revoked_total", "reason")),
            graph("Machine tokens", rate("authplane_client_credentials_issued_total")),
            graph("Agent tokens", rate("authplane_agent_tokens_issued_total", "has_chain")),
            graph("Upstream tokens", rate("authserver_upstream_token_issued_total", "provider, resource")),
            graph(
                "Upstream credentials refreshed", rate("authserver_upstream_token_refresh_total", "provider, outcome")
            ),
        ),
    ),
    (
        "People, clients and enterprises",
        (
            graph("Logins by result", rate("authserver_login_attempts_total", "result")),
            graph("Clients registered by source", rate("authserver_clients_registered_total", "source")),
            graph("Operations on resources", rate("authplane_resource_server_ops_total", "op")),
            graph("Operations on allow-lists", rate("authplane_allowlist_ops_total", "op")),
            graph("Cross-app access: policies", rate("authplane_xaa_policy_evaluation_total", "result")),
            graph("Cross-app access: subjects", rate("authplane_xaa_subject_resolutions_total", "result")),
            graph("Cross-app access: identity providers", rate("authplane_xaa_idp_operations_total", "operation")),
        ),
    ),
)

SECURITY: Sequence[Row] = (
    (
        "The last five minutes",
        (
            stat("Refresh tokens reused", recent("authserver_refresh_token_reuse_total"), width=5, alarm_above=0),
            stat("Refreshes retried", recent("authserver_refresh_token_retries_total"), width=4),
            stat("DPoP proofs refused", recent("authplane_dpop_proofs_rejected_total"), width=5),
            stat("Exchanges denied", recent("authplane_token_exchange_denied_total"), width=5),
            stat("Machine tokens denied", recent("authplane_client_credentials_denied_total"), width=5),
        ),
    ),
    (
        "Integrity, the last five minutes",
        (
            stat("Revocation failures", recent("authserver_revocation_failures_total", "path, half"), alarm_above=0),
            stat("Codes reused", recent("authserver_auth_code_reuse_total", "verifier"), alarm_above=0),
            stat("Audit events dropped", recent("authserver_audit_events_dropped_total"), alarm_above=0),
            stat("Document fetches held back", recent("authserver_cimd_fetch_suppressed_total", "reason")),
        ),
    ),
    (
        "Proof of possession",
        (
            graph("Proofs accepted", rate("authplane_dpop_proofs_validated_total")),
            graph("Proofs refused by reason", rate("authplane_dpop_proofs_rejected_total", "reason")),
            graph(
                "Accepted and refused",
                named("accepted", rate("authplane_dpop_proofs_validated_total")),
                named("refused", rate("authplane_dpop_proofs_rejected_total")),
            ),
        ),
    ),
    (
        "Exchanges and machines",
        (
            graph("Exchanges by type", rate("authplane_token_exchange_total", "type")),
            graph("Exchanges denied by reason", rate("authplane_token_exchange_denied_total", "reason")),
            graph("Machine tokens denied by reason", rate("authplane_client_credentials_denied_total", "reason")),
        ),
    ),
    (
        "People",
        (
            graph("Logins by result", rate("authserver_login_attempts_total", "result")),
            graph("Denials by reason", rate("authserver_auth_denied_total", "reason")),
            graph("Consent decisions", rate("authserver_consent_decisions_total", "decision")),
        ),
    ),
    (
        "Audit trail and attacks",
        (
            graph("Audit rows sealed", rate("authserver_audit_rows_sealed_total")),
            graph(
                "Audit events delivered and failed batches",
                named("delivered to {{destination}}", rate("authserver_audit_events_delivered_total", "destination")),
                named(
                    "failed: {{destination}} {{cause}}",
                    rate("authserver_audit_delivery_failures_total", "destination, cause"),
                ),
            ),
            graph(
                "Audit events not delivered yet",
                of_store("authserver_audit_delivery_pending", "destination"),
                unit="short",
            ),
            graph(
                "Age of the first event not delivered",
                of_store("authserver_audit_delivery_lag_seconds", "destination"),
                unit="s",
            ),
            graph("Connections ended without an answer", rate("authserver_connections_ended_total", "reason")),
            graph("Refusals not explained", rate("authserver_refusal_traces_dropped_total")),
            graph("Telemetry that no collector took", rate("authserver_telemetry_dropped_total", "signal")),
        ),
    ),
)


def _p95(title: str, name: str) -> Panel:
    return stat(title, quantile("0.95", name, window="5m"), unit="s")


OPERATIONS: Sequence[Row] = (
    (
        "95 of 100 take at most, in the last five minutes",
        (
            _p95("Database", "authserver_db_operation_duration_seconds"),
            _p95("Token issuance", "authserver_token_issuance_duration_seconds"),
            _p95("Introspection", "authserver_introspection_duration_seconds"),
            _p95("HTTP", "authserver_http_request_duration_seconds"),
        ),
    ),
    (
        "Database and tokens",
        (
            quantiles("Database operations", "authserver_db_operation_duration_seconds", "operation, store"),
            quantiles("Token issuance by grant", "authserver_token_issuance_duration_seconds", "grant_type"),
            quantiles("Token exchange", "authserver_token_issuance_duration_seconds", where=_EXCHANGE_ISSUANCE),
            graph("Introspections by result", rate("authserver_introspection_total", "result")),
            quantiles("Introspection", "authserver_introspection_duration_seconds"),
            quantiles("HTTP by route", "authserver_http_request_duration_seconds", "http_route"),
        ),
    ),
    (
        "Flows",
        (
            quantiles("From authorization request to code", "authserver_auth_flow_duration_seconds"),
            quantiles("Fetches of client metadata documents", "authserver_cimd_fetch_duration_seconds"),
            quantiles("Upstream sign-in", "authserver_oidc_exchange_duration_seconds"),
            graph(
                "Keys of the upstream sign-in",
                named("from cache", rate("authserver_oidc_jwks_cache_hits_total")),
                named("fetched", rate("authserver_oidc_jwks_cache_misses_total")),
            ),
            graph(
                "Upstream connections",
                named("{{provider}} connected", rate("authserver_connection_connect_total", "provider")),
                named("{{provider}} disconnected", rate("authserver_connection_disconnect_total", "provider")),
            ),
            graph("Fronted exchanges", rate("authplane_token_exchange_total", "source, target", 'kind="fronted"')),
            quantiles("Upstream tokens", "authserver_upstream_token_issuance_duration_seconds", "provider"),
        ),
    ),
    (
        "Keys and encryption",
        (
            graph(
                "Key rotations in the last day",
                (f"sum (increase(authserver_key_rotation_total{{{JOB}}}[1d]))", "rotations"),
                unit="short",
            ),
            quantiles("Key reload", "authserver_key_reload_duration_seconds"),
            quantiles("Encryption", "authserver_encrypt_duration_seconds", "driver, operation"),
            graph("Encryption errors", rate("authserver_encrypt_errors_total", "driver, operation, error_type")),
        ),
    ),
)

DASHBOARDS: dict[str, tuple[str, Sequence[Row]]] = {
    "authplane-overview": ("Authplane Overview", OVERVIEW),
    "authplane-security": ("Authplane Security", SECURITY),
    "authplane-operations": ("Authplane Operations", OPERATIONS),
}
"""By their permanent ids."""


def dashboard(uid: str) -> str:
    """Return a dashboard as Grafana imports and provisions it."""
    title, rows = DASHBOARDS[uid]
    document = {
        "uid": uid,
        "title": title,
        "tags": ["authplane"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource_variable(), _job_variable()]},
        "panels": _lay_out(rows),
    }
    return json.dumps(document, indent=1) + "\n"


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _job_variable() -> dict[str, Any]:
    query = f"label_values({_REQUESTS}, job)"
    return {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "job"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _lay_out(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Put panels side by side, row for row."""
    laid: list[dict[str, Any]] = []
    y = 0
    for title, panels in rows:
        at = {"x": 0, "y": y, "w": _WIDTH, "h": _ROW_HEIGHT}
        laid.append(
            {"id": len(laid) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}
        )
        y, x, height = y + _ROW_HEIGHT, 0, 0
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + height
            height = _STAT_HEIGHT if panel.is_stat else _GRAPH_HEIGHT
            at = {"x": x, "y": y, "w": panel.width, "h": height}
            laid.append({"id": len(laid) + 1, "gridPos": at, **_render(panel)})
            x += panel.width
        y += height
    return laid


def _render(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm_above is not None:
        steps.append({"color": "red", "value": panel.alarm_above or 1e-9})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    targets = [
        {"refId": chr(ord("A") + n), "datasource": _DATASOURCE, "expr": expr, "legendFormat": legend}
        for n, (expr, legend) in enumerate(panel.queries)
    ]
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.is_stat:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {
        "type": "stat" if panel.is_stat else "timeseries",
        "title": panel.title,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }
