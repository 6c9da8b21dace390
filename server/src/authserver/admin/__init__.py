"""The operators' side, on a listener of its own: who they are and what they may do, and the admin API.

Owns ``/admin/`` and table ``operators``. Every endpoint is a function in ``api/``, named by one table (``api/table.py``) from which routing,
authorization and the OpenAPI document are made (decision 0022). What an endpoint does is done by the administration of
the package that owns the thing. The command line runs the same endpoints.
"""
