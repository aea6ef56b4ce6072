"""What is seen from outside: logs, metrics and traces. Knows what a number or a line is called, and nothing of jobs."""
