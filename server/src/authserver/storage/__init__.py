"""The database: one set of SQL on SQLite and PostgreSQL.

Owns the connections, group commit, migrations and the ``changes`` table by which every process learns of a change within
two seconds. Leaves every other table to the package that owns it.
"""
