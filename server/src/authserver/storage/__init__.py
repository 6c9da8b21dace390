"""The database: one set of SQL on SQLite and PostgreSQL.

Owns the connections, group commit, migrations, backups and the move from SQLite to PostgreSQL; the tables ``names`` of
texts for which rows hold numbers, ``changes`` by which every process learns of a change within two seconds, and ``leases``
of who of all processes does what one should do. Leaves every other table to the package that owns it.
"""
