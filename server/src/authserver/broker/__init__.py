"""The token vault: upstream services, and the credentials that users have there.

Owns the providers and the grants (``broker_providers``, ``broker_grants``), and how their secrets are stored. It has no
routes: operators reach it through ``admin``. Resources that are served by a provider belong to ``resources``, the gates
that stand before an upstream token to ``tokens/exchange/broker.py``.
"""
