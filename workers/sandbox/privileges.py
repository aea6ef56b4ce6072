"""What root's process gives up for good: its capabilities, its user, the host's network. Standard library alone."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from workers.sandbox.kernel import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECUREBITS, prctl, system_call

VERSION_3 = 0x20080522
#: Root gets no capabilities by running a program, nor by changing its user; and each of these stays as it is.
NO_ROOT = 0b101111
NEW_NETWORK, NEW_IPC = 0x40000000, 0x08000000


def forbid_new_privileges() -> None:
    """No program gives more than there is now: setuid bits and the like say nothing from here on."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def leave_network() -> None:
    """Into a network, and an IPC namespace, of its own, with nothing in it. Raises ``OSError`` where it may not."""
    system_call("unshare", NEW_NETWORK | NEW_IPC)


def become(uid: int) -> None:
    """Raises ``OSError``."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def bind_to_no_root() -> None:
    """While capabilities are there still. Raises ``OSError``; does nothing for those who have none to give up."""
    if not may_set_capabilities():
        return
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        prctl(PR_CAPBSET_DROP, number)
    prctl(PR_SET_SECUREBITS, NO_ROOT)


def drop_capabilities() -> None:
    """All of them. Raises ``OSError``."""
    header, none = struct.pack("=Ii", VERSION_3, 0), bytes(24)
    system_call("capset", header, none)


def may_set_capabilities() -> bool:
    """Whether this process has CAP_SETPCAP."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return bool(effective >> 8 & 1)
