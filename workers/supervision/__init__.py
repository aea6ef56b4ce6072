"""What stands between the queue and a runner: leases, limits, kills and what is written down. Imports no torch."""
