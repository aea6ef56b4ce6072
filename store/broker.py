"""What the gateway and the worker must agree on about Celery. A message is a wake-up: no order, no data, no promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

WAKE = "layercut.wake"
QUEUE = "layercut"

# Redis hands a message out again when it is not acknowledged for this long. Wake-ups are acknowledged on receipt,
# so it only has to be longer than any wait: limits.max_queue_seconds ends at 30 days.
_VISIBILITY_SECONDS = 31 * 24 * 3600

# A worker that is told to stop reads once more, from its own thread: a broker that hangs holds it for as long, and it
# must be gone within the half minute that its host gives it. No command of ours waits: BRPOP is polled for.
_ANSWER_SECONDS = 5

_REDIS_OPTIONS: dict[str, Any] = {
    "visibility_timeout": _VISIBILITY_SECONDS,
    "global_keyprefix": "layercut:",
    "health_check_interval": 25,
    "socket_keepalive": True,
    "socket_connect_timeout": _ANSWER_SECONDS,
    "socket_timeout": _ANSWER_SECONDS,
}

_SETTINGS: dict[str, Any] = {
    "task_default_queue": QUEUE,
    "task_serializer": "json",
    "accept_content": ["json"],
    # Outcomes are in the jobs table; a result backend forgets them, and answers PENDING for what it never knew.
    "task_ignore_result": True,
    # Early: a job that has started is its lease's business, and no broker runs it again.
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Short: the reaper sends again what could not be sent.
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
}


def celery_settings(broker_url: str) -> dict[str, Any]:
    """Configuration of any Celery app of ours. Makes the folders of a ``filesystem://`` broker."""
    scheme = urlsplit(broker_url).scheme
    if scheme == "filesystem":
        return {**_SETTINGS, **_filesystem(broker_url)}
    settings = {**_SETTINGS, "broker_url": broker_url}
    if scheme in ("redis", "rediss"):
        # Celery knows how to hold nothing in reserve with Redis only; with others it warns.
        settings |= {
            "worker_disable_prefetch": True,
            "broker_transport": "store.redis_transport:Transport",
            "broker_transport_options": _REDIS_OPTIONS,
        }
    return settings


def ensure_folders(broker_url: str) -> None:
    """Make the folders of a ``filesystem://`` broker; other brokers have none."""
    if urlsplit(broker_url).scheme == "filesystem":
        for folder in _folders(broker_url).values():
            Path(folder).mkdir(parents=True, exist_ok=True)


def _filesystem(broker_url: str) -> dict[str, Any]:
    ensure_folders(broker_url)
    return {
        "broker_url": "filesystem://",
        "broker_transport": "store.file_transport:Transport",
        "broker_transport_options": {**_folders(broker_url), "polling_interval": 0.1},
    }


def _folders(broker_url: str) -> dict[str, str]:
    parts = urlsplit(broker_url)
    if parts.netloc or not parts.path.strip("/"):
        raise ValueError(f"a filesystem broker is filesystem:///absolute/folder, not {broker_url!r}")
    root = unquote(parts.path)
    messages = f"{root}/messages"
    # One folder for both ways: what the gateway writes is what the worker reads.
    return {"data_folder_in": messages, "data_folder_out": messages, "control_folder": f"{root}/control"}
