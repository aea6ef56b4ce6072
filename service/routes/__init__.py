"""The endpoints, one file a resource. Each file has a ``router``; ``service.app`` includes them all."""
