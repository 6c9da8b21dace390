"""The command line: arguments in, text out; and the processes that ``serve`` starts.

Owns the command ``authserver``. Every ``admin`` command works on the database and the key files directly, in this process,
with the server running or not. Leaves every decision to the packages below.
"""
