"""What a job does, stage by stage. Each takes the ``RunContext``, and returns what it made."""
