"""Tokens: issuing, introspection, revocation.

Owns ``POST /oauth/token``, ``/oauth/introspect`` and ``/oauth/revoke``, and table ``issuance_rows`` with its view
``issuances``: one row for every token handed out, which is its record, its revocation and what introspection recognises it by.
"""
