"""The filter of system calls as a program: what it answers, on each machine, whichever one runs this."""

from __future__ import annotations

import errno
import os
import re
import subprocess

import pytest

from tests.support.filters import decide
from workers.sandbox.call_numbers import CALLS, MACHINES, NEWEST
from workers.sandbox.seccomp import (
    ALLOW,
    AUDIT_NUMBERS,
    DENIED,
    KILL,
    PRETENDED,
    PRETENDED_CALLS,
    REFUSED,
    REFUSED_CALLS,
    RETURN,
    UNKNOWN,
    UNKNOWN_CALLS,
    Instruction,
    instructions,
    rules,
)

PID = 4711
THREAD = 0x3D0F00  # what pthread_create asks for
CHILD = 17  # SIGCHLD


def program(machine: str, *, own_signals: bool = True) -> list[Instruction]:
    return instructions(machine, rules(PID, own_signals=own_signals))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("openat", (-100, 0, os.O_RDONLY), ALLOW),
        ("openat", (-100, 0, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), ALLOW),
        ("openat", (-100, 0, os.O_RDWR | os.O_TRUNC), ALLOW),
        ("openat", (-100, 0, os.O_RDONLY | os.O_TRUNC), DENIED),
        ("openat", (-100, 0, os.O_RDONLY | os.O_TRUNC | os.O_CREAT | 1 << 40), DENIED),
        ("openat", (-100, 0, os.O_ACCMODE | os.O_TRUNC), DENIED),
        ("openat2", (-100, 0, 0, 24), UNKNOWN),
        ("clone", (THREAD,), ALLOW),
        ("clone", (CHILD,), ALLOW),
        ("clone", (CHILD | 0x8000,), REFUSED),
        ("clone", (CHILD | 0x10000000,), REFUSED),
        ("clone3", (0, 88), UNKNOWN),
        ("kill", (0, 9), ALLOW),
        ("kill", (PID, 9), ALLOW),
        ("kill", (-PID, 9), ALLOW),
        ("kill", (PID + 1, 0), REFUSED),
        ("kill", (-1, 9), REFUSED),
        ("tgkill", (PID, PID + 3, 6), ALLOW),
        ("tgkill", (1, 1, 19), REFUSED),
        ("sched_setaffinity", (0, 8, 0), ALLOW),
        ("sched_setaffinity", (PID + 1, 8, 0), REFUSED),
        ("fcntl", (3, 1), ALLOW),
        ("fcntl", (3, 1024, 1), REFUSED),
        ("fcntl", (3, 8, 1), REFUSED),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), REFUSED),
        ("ioctl", (0, 0x5412 | 1 << 32), REFUSED),
        ("ioctl", (3, 0x40086602), REFUSED),
        ("socketpair", (1, 1 | os.O_CLOEXEC, 0), ALLOW),
        ("socketpair", (1, 2, 0), REFUSED),
        ("socketpair", (30, 5, 0), REFUSED),
        ("prlimit64", (0, 7, 0, 1), ALLOW),
        ("prlimit64", (0, 7, 1 << 32, 0), REFUSED),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x0400000,), REFUSED),
        ("fchmod", (3, 0), PRETENDED),
        (NEWEST, (), REFUSED),
        (NEWEST + 1, (), UNKNOWN),
        (0x40000000 + 39, (), REFUSED),
    ],
)  # fmt: skip
def test_what_is_answered(machine: str, call: str | int, arguments: tuple[int, ...], answer: int) -> None:
    assert decide(program(machine), machine, call, arguments) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_where_something_else_sees_to_signals_it_may_end_its_children(machine: str) -> None:
    assert decide(program(machine, own_signals=False), machine, "kill", (PID + 1, 9)) == ALLOW


@pytest.mark.parametrize(("machine", "other"), [MACHINES, MACHINES[::-1]])
def test_another_set_of_numbers_is_killed(machine: str, other: str) -> None:
    assert decide(program(machine), other, "fcntl", (3, 1)) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_every_jump_lands_in_it_and_every_way_through_it_ends(machine: str) -> None:
    made = program(machine)
    for place, (code, then, otherwise, _) in enumerate(made):
        if code & 0x07 == 0x05:
            assert place + 1 + max(then, otherwise) < len(made)
    assert made[-1][0] == RETURN
    assert len(made) < 4096


def test_no_call_has_two_rules() -> None:
    named = [*REFUSED_CALLS, *PRETENDED_CALLS, *UNKNOWN_CALLS]
    assert len(named) == len(set(named))
    judged = instructions(MACHINES[0], rules(PID, own_signals=True))
    assert all(decide(judged, MACHINES[0], name) != ALLOW for name in named)


@pytest.mark.parametrize("column", range(len(MACHINES)))
def test_no_number_is_two_calls(column: int) -> None:
    numbers = [pair[column] for pair in CALLS.values() if pair[column] is not None]
    assert len(numbers) == len(set(numbers))


HEADERS = {
    "x86_64": ("asm/unistd_64.h", ""),
    # The generic ones are aarch64's; what it asks for besides stands in its own header.
    "aarch64": (
        "asm-generic/unistd.h",
        "#define __BITS_PER_LONG 64\n#define __ARCH_WANT_SYS_CLONE3\n#define __ARCH_WANT_MEMFD_SECRET\n"
        "#define __ARCH_WANT_SET_GET_RLIMIT\n",
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header, wanted = HEADERS[machine]
    try:
        source = f"{wanted}#include <{header}>\n"
        done = subprocess.run(["cc", "-E", "-dM", "-"], input=source, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the kernel's headers cannot be read here: {error}")
    if machine != os.uname().machine and "__NR_clone 220" not in done.stdout:
        pytest.skip(f"no numbers of {machine} among these headers")
    theirs = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", done.stdout))
    differing = {
        name: (pair, theirs[name])
        for name, pair in CALLS.items()
        if name in theirs and str(pair[MACHINES.index(machine)]) != theirs[name]
    }
    assert differing == {}
    assert len(theirs.keys() & CALLS.keys()) > 100


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64") as error:
        instructions("riscv64", {})
    assert error.value.errno == errno.ENOSYS
    assert set(AUDIT_NUMBERS) == set(MACHINES)
