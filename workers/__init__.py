"""The GPU side. `celery_app`, `supervisor` and what they import never import torch: the runner is its own process."""
