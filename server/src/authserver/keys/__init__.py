"""The keys that sign access tokens: where they are kept, how they are rotated, which are published.

Owns the three places where keys may be (decision 0024): the directory of ``signing.key_path`` (its files are interface:
key-management, section 3.1), table ``signing_keys``, and Vault, with table ``vault_key_versions``; and the document behind
``/.well-known/jwks.json``. Signing and publishing always come from one snapshot. A new key is published at once and signs
when every process has it; an old one is published until the last token it signed has expired. No routes. Leaves the audit row of a rotation to the command or endpoint that asked for it.
"""
