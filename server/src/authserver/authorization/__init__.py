"""What a user lets a client do: the authorization request, the consent, the code, and the family that the code becomes.

Owns ``GET /oauth/authorize`` (and its alias ``/authorize``), ``GET`` and ``POST /consent``, the pages of ``/device``, and the
tables ``authorizations`` (one row from the pending request to the last refresh), ``refresh_tokens``, ``consent_grants`` and
``device_requests``.
Leaves signing people in to ``login``, tokens to ``tokens``.
"""
