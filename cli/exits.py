"""What an exit code of `layercut` means; docs/command-line.md has the same table."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    #: The job failed or was cancelled; of the commands that host a service, it did not start.
    FAILED = 1
    #: The command was called wrongly: what typer itself says.
    USAGE = 2
    #: The service answered, and said no.
    REFUSED = 3
    #: No service answered, or what did is none of ours.
    UNREACHABLE = 4
    #: A file here cannot be read or written, or came damaged.
    FILES = 5
    #: The job had not ended in time.
    TIMEOUT = 6
    #: Ctrl-C.
    INTERRUPTED = 130
