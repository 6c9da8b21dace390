"""User accounts: who may sign in, how a password is checked, and what an operator may change.

Owns table ``users``; has no routes. Leaves browser sessions and the login page to ``login``, and what becomes of a
user's tokens to the packages above, which hand in the function that ends them.
"""
