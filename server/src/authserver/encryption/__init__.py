"""Secrets at rest and the keys they are sealed with.

Owns sealing under a key that is derived from a secret the database does not hold, and the derivation of one key per
purpose from one configured secret. No routes, no tables: whoever seals stores the result in a table of its own.
"""
