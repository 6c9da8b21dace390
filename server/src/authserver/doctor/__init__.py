"""The doctor: walks from a URL to a token as an MCP client does, and says which layer is wrong and what to change.

One module for each layer. A check is a function that yields findings; a finding has a code of ``codes.py``. Works on
anybody's servers and needs no configuration and no database. The token is shown to the examined MCP server and to nobody
else, and never printed. Owns no routes and no tables; printing is left to the command line.
"""
