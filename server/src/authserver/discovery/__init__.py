"""What clients read first: server metadata, keys, protected-resource metadata; and what monitors read: health, metrics.

Owns the documents under ``/.well-known/``, ``/openapi.json``, ``/livez``, ``/health``, ``/ready``, and ``/metrics`` of the operators' listener.
Has no table.
"""
