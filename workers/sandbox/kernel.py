"""System calls that Python has no function for. Standard library alone."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from contextlib import suppress

from workers.sandbox.call_numbers import number_of

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECUREBITS, PR_CAPBSET_DROP = 4, 38, 28, 24
PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG = 22, 36, 1

_LIBC = ctypes.CDLL(None, use_errno=True)


def system_call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """What the kernel answers; raises ``OSError``."""
    number = number_of(name, os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"{os.uname().machine} has no system call {name}")
    return _checked(_LIBC.syscall(ctypes.c_long(number), *map(_passed, arguments)))


def prctl(option: int, *arguments: int | ctypes.Structure) -> int:
    """Raises ``OSError``. The kernel wants the arguments that are not used to be 0."""
    given = [_passed(value) if isinstance(value, int) else ctypes.byref(value) for value in arguments]
    return _checked(_LIBC.prctl(option, *given, *[ctypes.c_long(0)] * (4 - len(given))))


def hide_process() -> None:
    """Let no process of the same user read this one's environment or memory. Where the kernel has no such thing, go on.

    Lost with ``exec``: whoever is started calls it again.
    """
    if hasattr(_LIBC, "prctl"):  # Linux alone
        prctl(PR_SET_DUMPABLE, 0)


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends, also where this one is stopped then. Kept by ``exec``,
    and lost where the process becomes another user.
    """
    if hasattr(_LIBC, "prctl"):  # Linux alone
        with suppress(OSError):  # locked in by now: as before
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Have what a child leaves behind become this process's own children, to be waited for. Elsewhere they are init's.

    Not every container has an init that waits for them, and a process that nobody waits for is counted for ever.
    """
    if hasattr(_LIBC, "prctl"):  # Linux alone
        prctl(PR_SET_CHILD_SUBREAPER, 1)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _passed(value: object) -> object:
    # A plain int would be cut to 32 bits.
    return ctypes.c_long(value) if isinstance(value, int) else value
