"""Tokens: issuing, introspection, revocation.

Owns ``POST /oauth/token``, ``/oauth/introspect``, ``/oauth/revoke`` and ``/oauth/device_authorization``; table ``issuance_rows``
with its view ``issuances``: one row for every token handed out, which is its record, its revocation and what introspection
recognises it by; and table ``dpop_jtis`` of proofs that were spent.
"""
