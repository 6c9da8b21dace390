"""Proof that nothing in the audit trail was changed, removed or reordered (docs/decisions/0023).

Owns tables ``audit_checkpoints``, ``audit_keys`` and ``audit_tombstones``. Rows are written as if it did not exist; a moment
later one process lists those that are settled, with a hash of each, in a checkpoint that names the hash of the checkpoint
before and is signed. Leaves the keys to ``keys``, and what is done about a broken chain to people.
"""
