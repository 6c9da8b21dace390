"""The edge: bytes become a request record, answers and refusals become bytes, and what every response carries is added.

Owns no route and no table. Leaves what a route decides to the package that owns it.
"""
