"""Secrets at rest and the keys they are sealed with.

Owns sealing under a key that the database does not hold: the master key or the Vault of ``data_encryption``, or one that is
derived, for one purpose, from another configured secret; and what speaks to Vault. No routes, no tables: whoever seals
stores the result in a table of its own.
"""
