"""Protected resources: the catalogue that ``resource`` values resolve against, and what operators declare about them.

Owns the tables ``resources`` and ``fronting_links``; has no routes. Leaves the metadata documents to ``discovery`` and all token decisions to
``tokens``.
"""
