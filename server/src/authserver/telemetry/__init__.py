"""What operators see of the running server: log lines, metrics, traces, and the request that each of them belongs to.

Owns the log format, the list of all metrics, the two ambient values of the program, which are the request's origin with the
noted steps of a decision and the present span, and what tells all of it to a collector. Leaves the audit trail to ``audit``,
keeping refusals to ``traces`` and the scrape endpoint to ``discovery``.
"""
