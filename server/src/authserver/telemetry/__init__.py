"""What operators see of the running server: log lines, metrics, and the request that each of them belongs to.

Owns the log format, the list of all metrics, the one ambient value of the program, the request's origin, and with it the
noted steps of a decision. Leaves the audit trail to ``audit``, keeping refusals to ``traces`` and the scrape endpoint to
``discovery``.
"""
