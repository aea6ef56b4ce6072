"""What a runner is started with: the document that `launch.py` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

#: What is asked for, in the order in which it is given up where a host cannot do it.
Applied = Literal["network_namespace", "files", "limits", "privileges", "own_user", "system_calls"]


class Files(BaseModel):
    """All beneath ``read`` is to read and to run, beneath ``write`` to read and to write; of ``listed``, names alone.

    ``open_files`` are descriptors that the runner inherits, of files that it may open again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    listed: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    open_files: tuple[int, ...] = ()


class Limits(BaseModel):
    """On the runner and each process that it starts; ``processes`` on all of them together, threads counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_bytes: int
    file_bytes: int
    open_files: int
    processes: int


class Confinement(BaseModel):
    """``groups`` are control groups that it enters. ``uid`` is the user that it becomes, for the measure `own_user`.

    ``own_signals``: it signals itself and its group alone, where nothing but the filter of system calls sees to that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measures: tuple[Applied, ...]
    files: Files
    limits: Limits
    uid: int | None = None
    groups: tuple[Path, ...] = ()
    own_signals: bool = False
    probe: bool = False
