"""Work on the whole database: what is created at boot, and what may be deleted when.

Owns no table and no routes. The deletions of all packages' expired rows stand here in one place, because they follow one
rule and are compared with one list. Leaves the schedule to whoever calls the ``purge`` command.
"""
