"""Explained refusals: keeps the decision behind every refusal for a while, and says what it means and what to do.

Owns the table ``refusal_traces`` and the catalogue of reasons. What is noted, and how it loses its secrets, is
``telemetry/decisions.py``; who prints it is the command line.
"""
