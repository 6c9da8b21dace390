"""What operators see of the running server: log lines, metrics, and the request that each of them belongs to.

Owns the log format, the list of all metrics and the one ambient value of the program, the request's origin. Leaves the
audit trail to ``audit`` and the scrape endpoint to ``admin``.
"""
