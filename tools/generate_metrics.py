"""Makes the reference page of metrics from the instruments."""

from authserver.telemetry import metrics

_INTRODUCTION = f"""# Metrics

<!-- Made from the code by tools/generate.py; edit server/src/authserver/telemetry/metrics.py instead. -->

How they are read, and what they mean with several workers: [observability.md](../observability.md). Histograms measure seconds,
in buckets of {", ".join(f"{bucket:g}" for bucket in metrics.BUCKETS)}. A label without values takes those of the
installation: routes, slugs, grants, reasons of refusals, audit actions.
"""
_KINDS: dict[str, type[metrics.Instrument]] = {
    "Counters": metrics.Counter,
    "Histograms": metrics.Histogram,
    "Figures from the database": metrics.Gauge,
}


def metrics_page() -> str:
    """Return the page."""
    lines = [_INTRODUCTION]
    for title, kind in _KINDS.items():
        lines += [f"## {title}", "", "| Name | Labels | Meaning |", "|---|---|---|"]
        lines += [
            f"| `{each.name}` | {_spell(each.labels)} | {each.documentation} |"
            for each in vars(metrics).values()
            if isinstance(each, kind)
        ]
        lines.append("")
    return "\n".join(lines)


def _spell(labels: metrics.Labels) -> str:
    """Spell labels out, with their values if these are a closed set."""
    spelled = []
    for name, values in labels.items():
        named = ", ".join(f"`{value}`" for value in sorted(values or ()) if value)
        spelled.append(f"`{name}`: {named}" if named else f"`{name}`")
    return "; ".join(spelled)
