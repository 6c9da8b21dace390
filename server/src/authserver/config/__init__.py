"""Configuration: every key declared once, read from one YAML file and the environment, checked before anything starts.

Owns no routes and no tables. ``model`` is the declaration, ``loader`` the reading, ``checks`` and ``features`` what
refuses a start, ``notices`` what is only said aloud. Packages are handed their own section and never look at the file
or the environment themselves. What may change while the server runs is no configuration: it is a setting, a database
row, and lives with the admin side.
"""
