"""The commands that ask a service, wherever it is: a client alone is what they need."""

from __future__ import annotations

from collections.abc import Callable

from cli.remote.files import download, upload
from cli.remote.lifecycle import cancel, delete, retry
from cli.remote.looking import list_jobs, logs, show, watch
from cli.remote.paper import paper
from cli.remote.pictures import figure
from cli.remote.submitting import plan, submit

#: By the name that is typed.
COMMANDS: dict[str, Callable[..., None]] = {
    "submit": submit,
    "plan": plan,
    "watch": watch,
    "list": list_jobs,
    "show": show,
    "logs": logs,
    "cancel": cancel,
    "retry": retry,
    "delete": delete,
    "download": download,
    "upload": upload,
    "figure": figure,
    "paper": paper,
}
