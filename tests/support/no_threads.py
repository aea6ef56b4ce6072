"""A host that has no more threads to give, for one process of tests."""

from __future__ import annotations

import errno
import os

from workers.sandbox import privileges, seccomp

NEW_THREAD = 0x00010000


def refuse_threads() -> None:
    """Of the calling thread, from now on, as the kernel does where a limit is reached. It may start processes."""
    privileges.forbid_new_privileges()
    refused = (seccomp.RETURN, 0, 0, seccomp.ANSWER | errno.EAGAIN)
    allowed = (seccomp.RETURN, 0, 0, seccomp.ALLOW)
    flags = (seccomp.LOAD, 0, 0, 16)
    rules = {
        "clone": [flags, (seccomp.ANY_BIT, 0, 1, NEW_THREAD), refused, allowed],
        "clone3": [(seccomp.RETURN, 0, 0, seccomp.UNKNOWN)],
    }
    seccomp.enforce(seccomp.instructions(os.uname().machine, rules))
