"""Fuzzing: inputs nobody would send by accident, at the endpoints that anybody can reach, and at the parsers behind them.

``make fuzz`` looks for new ones, guided by coverage; ``server/tests/fuzz`` replays the corpus and mutates it by a fixed
seed. What was found stands in the corpus, and as a test beside the code that was wrong.
"""
