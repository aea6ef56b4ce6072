"""Landlock: which files a process and its children may open from now on. Standard library alone.

It judges the opening of a file: one that is open already, or whose descriptor is received, can be read and mapped. A
rule is on a file or on all beneath a folder, whatever is put there later; none can be added once locked in, and none
takes away what another gives. It does not judge stat, chmod or chown: `seccomp.py` does.
https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from workers.sandbox.kernel import system_call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"
ASK_VERSION, BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

#: Rights on files by the version that brought them.
FILES = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
TCP_VERSION, TCP = 4, 0b11
#: Signals to processes outside, and abstract sockets of theirs.
SCOPE_VERSION, SCOPES = 6, 0b11

LIST = READ_DIR
READ = READ_FILE | READ_DIR | EXECUTE
#: No pipes, sockets or devices: whoever reads the folder later must not wait on one. Nothing written can be executed.
WRITE = READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
DEVICE = READ_FILE | READ_DIR | WRITE_FILE | IOCTL_DEV
_ON_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


def version() -> int:
    """What this kernel can; raises ``OSError`` where it has no Landlock, or was started without it."""
    return system_call(CREATE_RULESET, None, 0, ASK_VERSION)


def scopes_signals() -> bool:
    """Whether whoever is locked in can signal nobody outside: from Linux 6.12 on."""
    try:
        return version() >= SCOPE_VERSION
    except OSError:
        return False


class Ruleset:
    """Everything is refused that no rule allows. Raises ``OSError``."""

    def __init__(self) -> None:
        found = version()
        self._handled = sum(rights for since, rights in FILES.items() if since <= found)
        tcp, scopes = TCP if found >= TCP_VERSION else 0, SCOPES if found >= SCOPE_VERSION else 0
        # An older kernel refuses a longer structure only where what it does not know is not 0.
        attributes = struct.pack("=QQQ", self._handled, tcp, scopes)
        self._ruleset = system_call(CREATE_RULESET, attributes, len(attributes), 0)

    def allow(self, paths: Iterable[str], rights: int) -> None:
        """Those of ``paths`` that are there, links followed."""
        for path in paths:
            try:
                handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue  # what cannot be reached now cannot be read later either
            try:
                self.allow_open(handle, rights)
            finally:
                os.close(handle)

    def allow_open(self, handle: int, rights: int) -> None:
        """The very file that is open: by each of its names, and by ``/proc/self/fd``."""
        fitting = rights if stat.S_ISDIR(os.fstat(handle).st_mode) else rights & _ON_A_FILE
        # The kernel packs this structure.
        rule = struct.pack("=Qi", fitting & self._handled, handle)
        if fitting & self._handled:
            system_call(ADD_RULE, self._ruleset, BENEATH, rule, 0)

    def enforce(self) -> None:
        """On this thread and all that it starts. Needs no new privileges, or a capability."""
        system_call(RESTRICT_SELF, self._ruleset, 0)
        os.close(self._ruleset)


def lock_in(files: dict[str, Any]) -> None:
    """Lock this process in: ``files`` are the arguments of ``lock_files``. Raises ``OSError``.

    Only the calling thread is bound, so there must be no other yet: raises ``RuntimeError`` where there is.
    """
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"the runner has {len(threads)} threads, and could lock in only one of them")
    lock_files(**files).enforce()


def lock_files(
    *,
    read: Sequence[str],
    write: Sequence[str],
    listed: Sequence[str],
    devices: Sequence[str],
    open_files: Sequence[int],
) -> Ruleset:
    """Rules for what may be read and run, written, listed, asked as a device; and for files that are open."""
    ruleset = Ruleset()
    for paths, rights in ((read, READ), (write, WRITE), (listed, LIST), (devices, DEVICE)):
        ruleset.allow(paths, rights)
    for handle in open_files:
        if stat.S_ISREG(os.fstat(handle).st_mode):  # a socket is used as it is
            ruleset.allow_open(handle, READ_FILE)
    return ruleset
