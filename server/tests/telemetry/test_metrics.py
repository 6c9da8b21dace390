import re
import subprocess
import sys
from typing import Any

import pytest

from authserver.telemetry import metrics

# Name to label names, as the contract lists them.
CONTRACT = {
    "authserver_tokens_issued_total": ["grant_type"],
    "authserver_tokens_refreshed_total": [],
    "authserver_tokens_revoked_total": ["reason"],
    "authserver_auth_denied_total": ["reason"],
    "authserver_audit_events_dropped_total": ["action"],
    "authserver_audit_rows_sealed_total": [],
    "authserver_audit_events_delivered_total": ["destination"],
    "authserver_audit_delivery_failures_total": ["destination", "cause"],
    "authserver_audit_delivery_pending": ["destination"],
    "authserver_audit_delivery_lag_seconds": ["destination"],
    "authserver_refusal_traces_dropped_total": [],
    "authserver_telemetry_dropped_total": ["signal"],
    "authserver_clients_registered_total": ["source"],
    "authserver_cimd_fetch_suppressed_total": ["reason"],
    "authserver_consent_decisions_total": ["decision"],
    "authserver_login_attempts_total": ["result"],
    "authserver_refresh_token_reuse_total": [],
    "authserver_refresh_token_retries_total": [],
    "authserver_auth_code_reuse_total": ["verifier"],
    "authserver_revocation_failures_total": ["path", "half"],
    "authserver_oidc_jwks_cache_hits_total": [],
    "authserver_oidc_jwks_cache_misses_total": [],
    "authserver_introspection_total": ["result"],
    "authserver_key_rotation_total": [],
    "authserver_upstream_token_issued_total": ["provider", "resource"],
    "authserver_upstream_token_refresh_total": ["provider", "outcome"],
    "authserver_connection_connect_total": ["provider"],
    "authserver_connection_disconnect_total": ["provider"],
    "authserver_encrypt_errors_total": ["driver", "operation", "error_type"],
    "authserver_connections_ended_total": ["reason"],
    "authplane_client_credentials_issued_total": [],
    "authplane_client_credentials_denied_total": ["reason"],
    "authplane_dpop_proofs_validated_total": ["result"],
    "authplane_dpop_proofs_rejected_total": ["reason"],
    "authplane_token_exchange_total": ["type", "kind", "source", "target"],
    "authplane_token_exchange_denied_total": ["reason"],
    "authplane_agent_tokens_issued_total": ["has_chain"],
    "authplane_xaa_policy_evaluation_total": ["result"],
    "authplane_xaa_idp_operations_total": ["operation"],
    "authplane_xaa_subject_resolutions_total": ["result"],
    "authplane_resource_server_ops_total": ["op"],
    "authplane_allowlist_ops_total": ["op"],
    "authserver_http_requests_total": ["http_method", "http_route", "http_status_code"],
    "authserver_token_issuance_duration_seconds": ["grant_type"],
    "authserver_auth_flow_duration_seconds": [],
    "authserver_cimd_fetch_duration_seconds": [],
    "authserver_db_operation_duration_seconds": ["operation", "store"],
    "authserver_oidc_exchange_duration_seconds": [],
    "authserver_introspection_duration_seconds": [],
    "authserver_key_reload_duration_seconds": [],
    "authserver_upstream_token_issuance_duration_seconds": ["provider"],
    "authserver_encrypt_duration_seconds": ["driver", "operation"],
    "authserver_http_request_duration_seconds": ["http_method", "http_route", "http_status_code"],
    "authserver_active_clients": [],
    "authserver_active_token_families": [],
}


def _value(series: str) -> float:
    match = re.search(rf"^{re.escape(series)} (.+)$", metrics.scrape().decode(), re.MULTILINE)
    assert match is not None, series
    return float(match[1])


def test_every_instrument_of_the_contract_is_declared_and_no_other() -> None:
    instruments: list[Any] = list(metrics.REGISTRY._collector_to_names)
    declared = {
        each._name + ("_total" if each._type == "counter" else ""): list(each._labelnames) for each in instruments
    }

    assert declared == CONTRACT


def test_instruments_are_visible_at_zero_before_anything_happens() -> None:
    program = "from authserver.telemetry import metrics; print(metrics.scrape().decode())"
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text = fresh.stdout

    assert re.search(r"^authserver_key_rotation_total 0\.0$", text, re.MULTILINE)
    assert 'authserver_revocation_failures_total{half="jti",path="reuse"}' in text


def test_there_is_no_second_series_per_counter() -> None:
    text = metrics.scrape().decode()

    assert "_created" not in text
    assert "_total_total" not in text


def test_histograms_have_the_buckets_of_the_contract() -> None:
    text = metrics.scrape().decode()
    buckets = re.findall(r'^authserver_introspection_duration_seconds_bucket\{le="([^"]+)"\}', text, re.MULTILINE)

    assert [float(b) for b in buckets[:-1]] == [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    assert buckets[-1] == "+Inf"


def test_events_are_counted_under_their_labels() -> None:
    series = 'authserver_auth_code_reuse_total{verifier="valid"}'
    before = _value(series)

    metrics.AUTH_CODE_REUSE.inc("valid")

    assert _value(series) == before + 1


def test_durations_are_measured_under_their_labels() -> None:
    metrics.DB_OPERATION_DURATION.observe(0.002, "session_create", "sqlite")

    count = 'authserver_db_operation_duration_seconds_count{operation="session_create",store="sqlite"}'
    assert _value(count) >= 1


def test_a_value_outside_a_closed_set_counts_as_other() -> None:
    metrics.HTTP_REQUESTS.inc("BREW", "/coffee", "418")

    series = 'authserver_http_requests_total{http_method="other",http_route="/coffee",http_status_code="418"}'
    assert _value(series) == 1


def test_open_labels_do_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_OPEN_CHILDREN", 2)
    for n in range(5):
        metrics.CONNECTION_CONNECT.inc(f"provider-{n}")

    text = metrics.scrape().decode()
    assert len(re.findall(r"^authserver_connection_connect_total\{", text, re.MULTILINE)) == 3
    assert _value('authserver_connection_connect_total{provider="other"}') == 3


def test_a_child_can_be_kept() -> None:
    child = metrics.TOKENS_ISSUED.child("authorization_code")

    assert metrics.TOKENS_ISSUED.child("authorization_code") is child
