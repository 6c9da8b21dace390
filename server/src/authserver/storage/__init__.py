"""The database: one set of SQL on SQLite and PostgreSQL.

Owns the connections, group commit, migrations, the table ``names`` of texts for which rows hold numbers, and the table
``changes`` by which every process learns of a change within two seconds. Leaves every other table to the package that owns it.
"""
