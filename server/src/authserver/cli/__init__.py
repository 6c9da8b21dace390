"""The command line: arguments in, text out; and the processes that ``serve`` starts.

Owns the command ``authserver``. An ``admin`` command is an endpoint of the admin API (decision 0030): in this process, on the
database of the configuration, with the server running or not; or in the server that ``--server`` names. Leaves every
decision to the packages below.
"""
