"""The machine under a job: its device, its memory, its models, and what its failures are called."""
