"""The only HTTP client: what strangers make us fetch is fetched here, and nowhere else.

Checks every address before it connects, follows no redirects, sends no cookies or credentials, takes no proxy from the
environment, and bounds time and size. Owns no routes and no tables; what a document means is decided by whoever asked for
it.
"""
