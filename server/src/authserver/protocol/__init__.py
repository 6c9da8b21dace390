"""Pure rules of OAuth: no I/O, no clock, no framework.

Owns what RFCs and the contract say about values: errors, identifiers, scopes, PKCE, redirect URIs, resource indicators,
client metadata, JOSE. Leaves every decision that needs stored state to the packages above.
"""
