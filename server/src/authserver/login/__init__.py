"""Signing in with a password, and the browser session that follows.

Owns the session cookie, the form tokens, the lockout of password guessing, and the routes ``/login``, ``/logout`` and
``/``; has no tables. Leaves accounts and password hashes to ``users`` and what a signed-in user may do to the packages
above.
"""
