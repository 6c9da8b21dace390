"""Enterprise-managed authorization (XAA): which identity providers are trusted, and what their assertions may buy.

Owns the providers, the policies and the subject mappings (``trusted_idps``, ``xaa_policies``, ``subject_mappings``), and the
keys of the providers, which it fetches and keeps. It has no routes: the grant that takes assertions is
``tokens/grants/jwt_bearer.py``, and what an assertion must look like stands in ``protocol/id_jag.py``.
"""
