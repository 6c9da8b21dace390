"""Sends the sealed trail to where an operator watches many systems: a signed webhook, or OTLP logs over HTTP.

Owns table ``audit_deliveries``. Rows go out in the order of the checkpoints that list them, at least once: what was not
acknowledged is sent again, after a restart too. Leaves connections to ``outbound``.
"""
