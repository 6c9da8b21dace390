"""What clients read first: server metadata, keys, protected-resource metadata, health.

Owns the documents under ``/.well-known/`` and ``/livez``, ``/health``, ``/ready``. Has no table.
"""
