"""OAuth clients: who they are, how they register, how they prove themselves.

Owns the tables ``clients`` and ``assertion_jtis``, the runtime setting ``dcr_mode`` and the route ``POST /oauth/register``.
Clients come from operators (admin API and command line), from dynamic registration (RFC 7591) and from Client ID Metadata
Documents, which are fetched at the authorization endpoint only; the keys they sign with are fetched where they prove
themselves. What a client may do with a grant is decided by the grants; tokens, consent and codes belong to the packages
above, which pass in what has to happen there when a client changes.
"""
