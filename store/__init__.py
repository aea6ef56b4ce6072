"""Memory: jobs and their events in SQL, artifacts in an object store, and what both sides agree on about the broker.

Every other room asks here; nothing here knows HTTP, Celery tasks or torch.
"""
