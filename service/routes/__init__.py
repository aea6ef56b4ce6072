"""The endpoints, one file a job. Each file has a ``router``; ``service.app`` includes them all."""
