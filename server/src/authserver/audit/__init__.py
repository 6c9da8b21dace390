"""The audit trail: what happened, who did it, from where.

Owns table ``audit_rows``, its view ``audit_events`` and the catalogue of actions; has no routes. Leaves the decision what to
record to the packages that act, and reading over HTTP to ``admin``.
"""
