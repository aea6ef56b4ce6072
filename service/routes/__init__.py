"""The endpoints, one file a subject. Each file has a ``router``; ``service.app`` includes them all."""
