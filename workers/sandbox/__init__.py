"""What locks a runner in: files, network, system calls, privileges, limits. Each is tried before it is claimed.

`launch.py` and what it imports know the standard library alone: they run before the runner, and it waits for them.
"""
