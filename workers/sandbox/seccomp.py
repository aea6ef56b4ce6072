"""Seccomp: which system calls a process and its children may make from now on. Standard library alone.

No socket can be made but a pair that is connected to itself; nothing of another process, of the kernel or of mounts can
be reached. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from workers.sandbox.kernel import PR_SET_SECCOMP, prctl

MODE_FILTER = 2
ALLOW, KILL, ANSWER = 0x7FFF0000, 0x80000000, 0x00050000
#: Answered with 0 and not done. Landlock does not judge them, and a runner often has the user of its worker: it could
#: change the mode of any file of theirs. What copies a file's mode with the file goes on.
PRETENDED = ANSWER
REFUSED, UNKNOWN = ANSWER | errno.EPERM, ANSWER | errno.ENOSYS

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
NEW_NAMESPACES = 0x7E020000  # user, pid, net, ipc, uts, cgroup, mount
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
STREAM, SEQPACKET = 1, 5

LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
NUMBER, MACHINE = 0, 4

#: By name: on x86_64, on aarch64.
REFUSED_CALLS: dict[str, tuple[int, int | None]] = {
    # network; a pair of sockets is made connected
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    # its group: its supervisor ends all of it at once
    "setpgid": (109, 154), "setsid": (112, 157),
    # its own limits
    "setrlimit": (160, 164),
    # parts of the kernel that are large, and that no runner needs
    "bpf": (321, 280), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "perf_event_open": (298, 241), "fanotify_init": (300, 262),
    "inotify_init": (253, None), "inotify_init1": (294, 26),
    # namespaces and mounts
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "open_tree_attr": (467, 467), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    # files by another way than their path; what Landlock does not judge, or not in its first versions
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "truncate": (76, 45), "mknod": (133, None),
    "mknodat": (259, 33), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469),
    # the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58),
}  # fmt: skip

PRETENDED_CALLS: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
}  # fmt: skip

#: Judged by their arguments, or answered so that the C library takes another way.
CLONE, CLONE3, SOCKETPAIR, PRLIMIT, IOCTL = (56, 220), (435, 435), (53, 199), (302, 261), (16, 29)

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def lock_system_calls() -> None:
    """For this thread and all that it starts. Needs no new privileges, or a capability. Raises ``OSError``."""
    made = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions(os.uname().machine))
    prctl(PR_SET_SECCOMP, MODE_FILTER, _Program(len(made) // 8, made))


def instructions(machine: str) -> list[Instruction]:
    """Raises ``OSError`` for a machine whose numbers are not known here."""
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"system calls of {machine} are not known here, only {', '.join(MACHINES)}")
    column = list(MACHINES).index(machine)
    program = [_load(MACHINE), (EQUAL, 1, 0, MACHINES[machine]), (RETURN, 0, 0, KILL), _load(NUMBER)]
    # The third set of numbers that a kernel for x86_64 may take. Beyond ours on aarch64 too.
    program += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, REFUSED)]
    for calls, answer in ((REFUSED_CALLS, REFUSED), (PRETENDED_CALLS, PRETENDED), ({"clone3": CLONE3}, UNKNOWN)):
        for numbers in calls.values():
            program += _answered(numbers[column], [(RETURN, 0, 0, answer)])
    for numbers, judged in _JUDGED:
        program += _answered(numbers[column], judged)
    return [*program, (RETURN, 0, 0, ALLOW)]


def _answered(number: int | None, answer: list[Instruction]) -> list[Instruction]:
    return [] if number is None else [(EQUAL, 0, len(answer), number), *answer]


def _load(offset: int) -> Instruction:
    return (LOAD, 0, 0, offset)


def _argument(index: int, *, high: bool = False) -> Instruction:
    return _load(16 + 8 * index + (4 if high else 0))


_ALLOW, _REFUSE = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSED)

# Each ends with an answer, so that nothing after it finds another value loaded than the call's number.
_JUDGED: tuple[tuple[tuple[int, int], list[Instruction]], ...] = (
    (CLONE, [_argument(0), (ANY_BIT, 0, 1, NEW_NAMESPACES), _REFUSE, _ALLOW]),
    # A datagram socket could be sent elsewhere, with the address in memory where no filter sees it.
    (SOCKETPAIR, [_argument(1), (AND, 0, 0, 0xF), (EQUAL, 1, 0, STREAM), (EQUAL, 0, 1, SEQPACKET), _ALLOW, _REFUSE]),
    # Asking for a limit is what the C library does; another process's limits can be set, too.
    (
        PRLIMIT,
        [_argument(2), (EQUAL, 0, 2, 0), _argument(2, high=True), (EQUAL, 1, 0, 0), _REFUSE, _ALLOW],
    ),
    # Typing into a terminal.
    (IOCTL, [_argument(1), (EQUAL, 1, 0, TIOCSTI), (EQUAL, 0, 1, TIOCLINUX), _REFUSE, _ALLOW]),
)
