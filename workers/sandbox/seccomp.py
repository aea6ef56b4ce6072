"""Seccomp: which system calls a process and its children may make from now on. Standard library alone.

No socket can be made but a pair that is connected to itself; nothing of another process, of the kernel or of mounts can
be reached. A filter sees a call's registers, never the memory that they point to.
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping

from workers.sandbox.call_numbers import NEWEST, number_of
from workers.sandbox.kernel import PR_SET_SECCOMP, prctl

MODE_FILTER = 2
ALLOW, KILL, ANSWER = 0x7FFF0000, 0x80000000, 0x00050000
#: Answered with 0 and not done. Landlock does not judge them, and a runner often has the user of its worker: it could
#: change the mode of any file of theirs. What copies a file's mode with the file goes on.
PRETENDED = ANSWER
REFUSED, DENIED, UNKNOWN = ANSWER | errno.EPERM, ANSWER | errno.EACCES, ANSWER | errno.ENOSYS

AUDIT_NUMBERS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000

LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NUMBER, MACHINE = 0, 4

REFUSED_CALLS = (
    # network; a pair of sockets is made connected
    "socket", "connect", "bind", "listen",
    # other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "get_robust_list", "pidfd_getfd", "process_madvise",
    "process_mrelease", "migrate_pages", "move_pages", "setpriority", "ioprio_set", "sched_setscheduler",
    "sched_setparam", "sched_setattr",
    # signals to whom no filter can tell: the target is no number of a process, or comes with what is in memory
    "tkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
    # what is shared by name or number, with all of its user: the number of another's can be guessed
    "shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl",
    "mq_open", "mq_unlink",
    # out of its process group, which is killed with it
    "setsid", "setpgid",
    # its own limits
    "setrlimit",
    # parts of the kernel that are large, and that no runner needs
    "bpf", "add_key", "request_key", "keyctl", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "io_setup", "perf_event_open", "fanotify_init", "fanotify_mark", "inotify_init", "inotify_init1", "memfd_secret",
    "modify_ldt", "lsm_set_self_attr",
    # namespaces and mounts
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "statmount", "listmount", "listns", "unshare", "setns",
    # files by another way than their path; what Landlock does not judge, or not in its first versions
    "open_by_handle_at", "name_to_handle_at", "lookup_dcookie", "truncate", "mknod", "mknodat", "setxattr",
    "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat",
    "file_setattr",
    # the machine
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff",
    "acct", "quotactl", "quotactl_fd", "syslog", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname", "iopl", "ioperm", "vhangup", "nfsservctl", "uselib",
)  # fmt: skip

PRETENDED_CALLS = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes", "futimesat",
    "utimensat",
)  # fmt: skip

#: Their flags lie in memory. A C library takes `clone` and `openat` where the kernel does not know them.
UNKNOWN_CALLS = ("clone3", "openat2")

_ANSWERED = {REFUSED: REFUSED_CALLS, PRETENDED: PRETENDED_CALLS, UNKNOWN: UNKNOWN_CALLS}

#: In new namespaces (user, pid, net, ipc, uts, cgroup, mount); as a child of its parent's, who would not wait for it.
CLONE_FLAGS = 0x7E020000 | 0x00008000
STREAM, SEQPACKET, UNIX = 1, 5, 1
ACCESS, WRITE_ONLY, READ_WRITE, TRUNCATE = 0o3, 0o1, 0o2, 0o1000
#: Asks which one it has.
SAME_PERSONALITY = 0xFFFFFFFF

#: Who opens a file that has a lease waits for its holder; a notice and a signal go to whom the holder names.
LEASES_AND_OWNERS = {
    "F_SETOWN": 8, "F_SETSIG": 10, "F_SETOWN_EX": 15, "F_SETLEASE": 1024, "F_NOTIFY": 1026, "F_SETDELEG": 1040,
}  # fmt: skip

#: Typing into a terminal; the owner of a socket, who gets signals; what a file that is open to read can be made to be.
REQUESTS = {
    "TIOCSTI": 0x5412, "TIOCLINUX": 0x541C, "FIOSETOWN": 0x8901, "SIOCSPGRP": 0x8902, "FS_IOC_SETFLAGS": 0x40086602,
    "FS_IOC_SETVERSION": 0x40087602, "FS_IOC_FSSETXATTR": 0x401C5820, "FS_IOC_SET_ENCRYPTION_POLICY": 0x800C6613,
    "FS_IOC_ENABLE_VERITY": 0x40806685,
}  # fmt: skip

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def lock_system_calls(*, own_signals: bool) -> None:
    """For this thread and all that it starts: ``rules`` of this process. Needs no new privileges, or a capability.

    Raises ``OSError``.
    """
    enforce(instructions(os.uname().machine, rules(os.getpid(), own_signals=own_signals)))


def enforce(program: list[Instruction]) -> None:
    """On this thread and all that it starts. Raises ``OSError``."""
    made = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    prctl(PR_SET_SECCOMP, MODE_FILTER, _Program(len(made) // 8, made))


def rules(pid: int, *, own_signals: bool) -> dict[str, list[Instruction]]:
    """What comes of each call, for the process ``pid`` and its children; all others are allowed.

    ``own_signals``: to no process but ``pid`` and its group. A child of it cannot be signalled alone then, since its
    number is not known beforehand.
    """
    itself = _switch(0, [0, pid], _ALLOW, _REFUSE)
    signals = {"kill": _switch(0, [0, pid, -pid & 0xFFFFFFFF], _ALLOW, _REFUSE), "tgkill": itself}
    return {
        **{name: [(RETURN, 0, 0, answer)] for answer, names in _ANSWERED.items() for name in names},
        **_JUDGED,
        "sched_setaffinity": itself,
        **(signals if own_signals else {}),
    }


def instructions(machine: str, ruled: Mapping[str, list[Instruction]]) -> list[Instruction]:
    """Raises ``OSError`` for a machine whose numbers are not known here. Each rule must end with an answer."""
    if machine not in AUDIT_NUMBERS:
        raise OSError(errno.ENOSYS, f"system calls of {machine} are not known here, only {', '.join(AUDIT_NUMBERS)}")
    # Another set of numbers: of 32 bits.
    program = [_load(MACHINE), (EQUAL, 1, 0, AUDIT_NUMBERS[machine]), (RETURN, 0, 0, KILL), _load(NUMBER)]
    # The third set of numbers that a kernel for x86_64 may take. Beyond ours on aarch64 too.
    program += [(AT_LEAST, 0, 1, X32_BIT), _REFUSE]
    # What a later kernel brings may be another way to what is refused here.
    program += [(AT_LEAST, 0, 1, NEWEST + 1), (RETURN, 0, 0, UNKNOWN)]
    for name, answer in ruled.items():
        number = number_of(name, machine)
        if number is not None:
            program += [(EQUAL, 0, len(answer), number), *answer]
    return [*program, _ALLOW]


_ALLOW, _REFUSE = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSED)


def _load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def _argument(index: int, *, high: bool = False) -> Instruction:
    """Its lower half: the kernel itself takes no more of a flag, a process or a command."""
    return _load(16 + 8 * index + (4 if high else 0))


def _switch(index: int, values: list[int], then: Instruction, otherwise: Instruction) -> list[Instruction]:
    """``then`` where the argument is one of ``values``."""
    compared = [(EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *compared, otherwise, then]


def _opened(index: int) -> list[Instruction]:
    """Emptying a file is writing to it, which Landlock asks about from its third version on; with neither access, or
    both bits, not even reading is asked about.
    """
    return [
        _argument(index), (ANY_BIT, 0, 4, TRUNCATE), (AND, 0, 0, ACCESS), (EQUAL, 2, 0, WRITE_ONLY),
        (EQUAL, 1, 0, READ_WRITE), (RETURN, 0, 0, DENIED), _ALLOW,
    ]  # fmt: skip


#: Each ends with an answer, so that nothing after it finds another value loaded than the call's number.
_JUDGED: dict[str, list[Instruction]] = {
    "clone": [_argument(0), (ANY_BIT, 0, 1, CLONE_FLAGS), _REFUSE, _ALLOW],
    "open": _opened(1),
    "openat": _opened(2),
    # A datagram socket could be sent elsewhere, with the address in memory where no filter sees it.
    "socketpair": [
        _argument(0), (EQUAL, 1, 0, UNIX), _REFUSE,
        _argument(1), (AND, 0, 0, 0xF), (EQUAL, 1, 0, STREAM), (EQUAL, 0, 1, SEQPACKET), _ALLOW, _REFUSE,
    ],
    # Asking for a limit is what the C library does; another process's limits can be set, too.
    "prlimit64": [_argument(2), (EQUAL, 0, 2, 0), _argument(2, high=True), (EQUAL, 1, 0, 0), _REFUSE, _ALLOW],
    "fcntl": _switch(1, list(LEASES_AND_OWNERS.values()), _REFUSE, _ALLOW),
    "ioctl": _switch(1, list(REQUESTS.values()), _REFUSE, _ALLOW),
    "personality": _switch(0, [SAME_PERSONALITY], _ALLOW, _REFUSE),
}  # fmt: skip
