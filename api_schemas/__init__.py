"""The vocabulary of layercut: bodies, events, errors, and the tables everything else is looked up in.

Only pydantic and the standard library are imported here, and no environment is read.
"""
