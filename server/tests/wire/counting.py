"""What the server counts, compared between two moments."""

from authserver.telemetry import metrics

# Counted with every request, or by what runs beside requests.
ALWAYS = {
    "authserver_http_requests_total",
    "authserver_http_request_duration_seconds",
    "authserver_db_operation_duration_seconds",
    "authserver_key_reload_duration_seconds",
    "authserver_audit_rows_sealed_total",
}
NAMES = [
    name
    for each in vars(metrics).values()
    if isinstance(each, metrics.Counter | metrics.Histogram) and each.name not in ALWAYS
    for name in ([each.name] if isinstance(each, metrics.Counter) else [f"{each.name}_count"])
]
Counts = dict[str, float]


def totals() -> Counts:
    """Return what was counted so far, by series."""
    found: Counts = {}
    for metric in metrics.REGISTRY.restricted_registry(NAMES).collect():
        for sample in metric.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name.removesuffix('_total')}" + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def grown_since(before: Counts, after: Counts) -> list[str]:
    """Return what was counted in between, a series by two twice."""
    return [series for series, value in after.items() for _ in range(int(value - before.get(series, 0)))]


class Counting:
    """Compares with what was counted when it was made, and from then on with what was counted when it was asked last."""

    def __init__(self) -> None:
        self._before = totals()

    def check(self, *expected: str) -> None:
        """Check that exactly these series grew by one since."""
        after = totals()
        assert sorted(grown_since(self._before, after)) == sorted(expected)
        self._before = after
