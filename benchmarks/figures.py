"""What the samples say: the ratios and times that have targets, and a few that explain them."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from load import Sample
from measures import ASSERTION, BOUND, BOUND_EXCHANGE, EXCHANGE, PLAIN

FLOOR, SQLITE, POSTGRES, PEER = "floor", "authserver sqlite", "authserver postgres", "node-oidc-provider"
LOGGED = "authserver sqlite, logged"
TRACED, ALL_TRACED = "authserver sqlite, traced at 10 %", "authserver sqlite, all traced"
GRANTS = "grants of authserver sqlite, 16 connections"
"""The measure whose contestants are grants of one server."""
LIST_PAGE = "list page, 10^5 / 10^3 rows, by CPU"
"""Of the operators' lists, the page that grows most."""

Figures = dict[str, float]
Samples = dict[str, dict[str, list[Sample]]]
"""Measure, contestant, one sample a round."""

_RATIOS = (
    ("flow / node-oidc-provider", "flow, 16 connections", SQLITE, PEER),
    ("flow / floor", "flow, 16 connections", SQLITE, FLOOR),
    ("flow, logged / quiet", "flow, 16 connections", LOGGED, SQLITE),
    ("flow, tracing at 10 % / off", "flow, 16 connections", TRACED, SQLITE),
    ("flow, tracing everything / off", "flow, 16 connections", ALL_TRACED, SQLITE),
    ("flow, postgres / sqlite", "flow, 64 connections", POSTGRES, SQLITE),
    ("redemption / node-oidc-provider", "redemption, 16 connections", SQLITE, PEER),
    ("refresh / node-oidc-provider", "refresh, 16 connections", SQLITE, PEER),
    ("client_credentials / node-oidc-provider", "client_credentials, 16 connections", SQLITE, PEER),
    ("client_credentials / floor", "client_credentials, 16 connections", SQLITE, FLOOR),
    ("introspection / node-oidc-provider", "introspection, 16 connections", SQLITE, PEER),
    ("jwks / node-oidc-provider", "jwks, 16 connections", SQLITE, PEER),
    ("metadata / node-oidc-provider", "metadata, 16 connections", SQLITE, PEER),
    ("jwks / floor", "jwks, 16 connections", SQLITE, FLOOR),
    ("client_credentials, DPoP-bound / plain", GRANTS, BOUND, PLAIN),
    ("exchange / client_credentials", GRANTS, EXCHANGE, PLAIN),
    ("exchange, DPoP-bound / plain", GRANTS, BOUND_EXCHANGE, EXCHANGE),
    ("jwt-bearer / client_credentials", GRANTS, ASSERTION, PLAIN),
)

AT_LEAST: Figures = {
    "flow / node-oidc-provider": 3,
    "flow, logged / quiet": 0.93,
    "flow, tracing at 10 % / off": 0.85,
    "flow, postgres / sqlite": 1.0,
    "flow, two workers / one": 1.25,
    "group commit / commit a request, slow flush": 10,
    "client_credentials, DPoP-bound / plain": 0.6,
    "client_credentials / floor": 0.65,
    "client_credentials / node-oidc-provider": 2,
    "introspection / node-oidc-provider": 2,
    "jwks / node-oidc-provider": 1.3,
    "metadata / node-oidc-provider": 1.3,
}
AT_MOST: Figures = {
    f"{LIST_PAGE}, sqlite": 1.3,
    f"{LIST_PAGE}, postgres": 1.3,
    "p50 at 1 connection, ms": 1.2,
    "p99 at 1 connection, ms": 8,
    "p99 / p50 at 64 connections": 4,
    "bytes a machine token, sqlite": 400,
    "bytes a machine token, postgres": 700,
    "resident idle, MiB": 90,
    "resident under load, MiB": 150,
    "resident growth after the first round, %": 5,
    "authserver version, s": 0.15,
    "start to first 200, s": 0.8,
}


def build_figures(samples: Samples, signatures: Sequence[float]) -> Figures:
    """Return the figures of a run.

    Args:
        samples: Taken side by side, round by round.
        signatures: The yardstick of each round, per second.
    """
    figures: Figures = {}
    for name, measure, one, other in _RATIOS:
        pairs = list(zip(_taken(samples, measure, one), _taken(samples, measure, other), strict=False))
        if pairs:
            figures[name] = statistics.median(a.requests_per_second / b.requests_per_second for a, b in pairs)
            figures[f"{name}, by CPU"] = statistics.median(
                b.cpu_us_per_request / a.cpu_us_per_request for a, b in pairs
            )

    def time_of(name: str, measure: str, value: Callable[[Sample], float]) -> None:
        taken = _taken(samples, measure, SQLITE)
        if taken:
            figures[name] = statistics.median(map(value, taken))

    time_of("p50 at 1 connection, ms", "flow, 1 connection", lambda sample: sample.p50_ms)
    time_of("p99 at 1 connection, ms", "flow, 1 connection", lambda sample: sample.p99_ms)
    time_of("p99 / p50 at 64 connections", "flow, 64 connections", lambda sample: sample.p99_ms / sample.p50_ms)
    figures["signatures/s, one process"] = statistics.median(signatures)
    for measure in ("redemption, 16 connections", "refresh, 16 connections"):
        costs = [
            sample.cpu_us_per_request * rate / 1e6
            for sample, rate in zip(_taken(samples, measure, SQLITE), signatures, strict=False)
        ]
        if costs:
            figures[f"{measure.partition(',')[0]}, in signatures of CPU"] = statistics.median(costs)
    return figures


def _taken(samples: Mapping[str, Mapping[str, list[Sample]]], measure: str, contestant: str) -> list[Sample]:
    return samples.get(measure, {}).get(contestant, [])
