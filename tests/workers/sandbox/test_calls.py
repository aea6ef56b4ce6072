"""What the filter of system calls alone refuses, as on a kernel whose Landlock is older than this one's.

Where it says so, the same is tried with nothing locked: there it must succeed, or the refusal would prove nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.confined import Confined, run_filtered, run_free
from workers.sandbox.seccomp import REFUSED_CALLS, UNKNOWN_CALLS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux")


def got(said: dict[str, str]) -> set[str]:
    return {what for what, outcome in said.items() if outcome.startswith("got")}


@pytest.fixture
def other() -> Iterator[int]:
    """A process of the same user, in a session of its own; alive and going on when the test is over."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        try:
            yield process.pid
            assert process.poll() is None
            assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
        finally:
            process.kill()


EMPTYING = """
for what, flags in (("to read", os.O_RDONLY), ("to read and make", os.O_RDONLY | os.O_CREAT), ("for neither", 3)):
    tried("emptying what is opened " + what, lambda: os.open(sys.argv[1], flags | os.O_TRUNC))
tried("truncate", lambda: os.truncate(sys.argv[1], 0))
import struct
how = struct.pack("QQQ", os.O_RDONLY | os.O_TRUNC, 0, 0)
tried("openat2", lambda: call("openat2", -100, sys.argv[1].encode(), how, 24))
handle, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128)), ctypes.create_string_buffer(8)
tried("its handle", lambda: call("name_to_handle_at", -100, sys.argv[1].encode(), handle, mount, 0))
"""


def test_a_file_that_is_to_read_alone_is_not_emptied(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_text("x")
    assert got(run_filtered(EMPTYING, file)) == set()
    assert file.read_text() == "x"
    assert got(run_free(EMPTYING, file)) >= {"emptying what is opened to read", "emptying what is opened for neither"}
    assert file.read_text() == ""


def test_the_whole_sandbox_does_not_either_and_its_own_files_are_written_anew(confined: Confined) -> None:
    (confined.folder / "inputs" / "weights").write_text("x")
    assert got(confined.outcomes(EMPTYING, confined.folder / "inputs" / "weights")) == set()
    assert (confined.folder / "inputs" / "weights").read_text() == "x"
    own = "tried('own', lambda: [open('own', 'w').write(text) for text in ('long', 's')])"
    assert confined.outcomes(own) == {"own": "got [4, 1]"}
    assert (confined.folder / "tmp" / "own").read_text() == "s"


SIGNALS = """
import fcntl, signal, socket, struct
other = int(sys.argv[1])
tried("asking", lambda: os.kill(other, 0))
tried("stopping", lambda: os.kill(other, signal.SIGSTOP))
tried("going on", lambda: os.kill(other, signal.SIGCONT))
tried("its group", lambda: os.killpg(other, 0))
tried("its thread", lambda: call("tgkill", other, other, 0))
tried("a thread by its number", lambda: call("tkill", other, 0))
tried("queued", lambda: call("rt_sigqueueinfo", other, signal.SIGCONT, struct.pack("iii", 0, 0, -1) + bytes(116)))
tried("by handle", lambda: signal.pidfd_send_signal(os.pidfd_open(other), 0))
reading, writing = os.pipe()
tried("as the owner of a pipe", lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, other))
tried("with another number", lambda: fcntl.fcntl(reading, 10, signal.SIGCONT))
tried("as the owner of it in another way", lambda: fcntl.fcntl(reading, 15, struct.pack("ii", 1, other)))
tried("as the owner of a socket", lambda: fcntl.ioctl(socket.socketpair()[0], 0x8901, struct.pack("i", other)))
"""

OWN_SIGNALS = """
import signal
tried("itself", lambda: os.kill(os.getpid(), 0))
tried("its group", lambda: os.killpg(0, 0))
tried("its group by number", lambda: os.killpg(os.getpid(), 0))
heard = []
signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
tried("its own thread", lambda: signal.raise_signal(signal.SIGUSR1))
print("heard:", heard)
"""


def test_no_other_process_of_its_user_is_signalled(other: int) -> None:
    assert got(run_filtered(SIGNALS, other)) == set()
    assert len(got(run_free(SIGNALS, other))) == 12


def test_it_signals_itself_and_its_group() -> None:
    assert run_filtered(OWN_SIGNALS) == {
        "itself": "got None",
        "its group": "got None",
        "its group by number": "got None",
        "its own thread": "got None",
        "heard": "[1]",
    }


OTHERS = """
import resource, struct
other = int(sys.argv[1])
cores = os.sched_getaffinity(0)
tried("its cores", lambda: os.sched_setaffinity(other, cores))
tried("its scheduling", lambda: os.sched_setscheduler(other, os.SCHED_OTHER, os.sched_param(0)))
tried("its parameters", lambda: os.sched_setparam(other, os.sched_param(0)))
attributes = struct.pack("IIQiIQQQ", 48, 0, 0, 0, 0, 0, 0, 0)
tried("its attributes", lambda: call("sched_setattr", other, attributes, 0))
tried("its priority", lambda: os.setpriority(os.PRIO_PROCESS, other, 0))
tried("its priority at the disk", lambda: call("ioprio_set", 1, other, 4 << 13))
limits = struct.pack("qq", *resource.prlimit(other, resource.RLIMIT_NOFILE))
tried("its limits", lambda: call("prlimit64", other, resource.RLIMIT_NOFILE, limits, 0))
tried("its locks", lambda: call("get_robust_list", other, *(ctypes.create_string_buffer(8) for _ in "12")))
tried("what it has of a kind", lambda: call("kcmp", other, other, 0, 0, 0))
tried("a child of its parent's", lambda: call("clone", 0x8000 | 17, 0, 0, 0, 0) or os._exit(0))
tried("another personality", lambda: call("personality", 0x0040000))
"""

OWN_CORES = """
cores = os.sched_getaffinity(0)
tried("cores", lambda: os.sched_setaffinity(0, cores))
tried("by its number", lambda: os.sched_setaffinity(os.getpid(), cores))
tried("asking others", lambda: os.sched_getaffinity(os.getppid()) == cores)
tried("personality", lambda: call("personality", 0xFFFFFFFF))
"""


def test_nothing_of_another_process_is_changed(other: int) -> None:
    assert got(run_filtered(OTHERS, other)) == set()
    assert len(got(run_free(OTHERS, other))) >= 9
    assert got(run_filtered(OWN_CORES)) == {"cores", "by its number", "asking others", "personality"}


LEASES = """
import fcntl
file, folder = os.open(sys.argv[1] + "/file", os.O_RDONLY), os.open(sys.argv[1], os.O_RDONLY)
tried("a lease", lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))
tried("a notice", lambda: fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_MODIFY))
tried("flags of its disk", lambda: fcntl.ioctl(file, 0x40086602, bytes(8)))
"""


def test_no_file_is_leased_so_that_others_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert got(run_filtered(LEASES, tmp_path)) == set()
    assert got(run_free(LEASES, tmp_path)) >= {"a lease", "a notice"}


SHARED = """
number = int(sys.argv[1])
tried("a segment", lambda: call("shmctl", call("shmget", 0, 4096, 0o1600), 0, 0))
tried("semaphores", lambda: call("semctl", call("semget", 0, 1, 0o1600), 0, 0))
tried("messages", lambda: call("msgctl", call("msgget", 0, 0o1600), 0, 0))
tried("a segment of another's", lambda: call("shmat", number, 0, 0o10000))
tried("of whom it is", lambda: call("shmctl", number, 2, ctypes.create_string_buffer(256)))
tried("a queue", lambda: call("mq_open", b"layercut-test", os.O_RDWR | os.O_CREAT, 0o600, 0))
tried("removing a queue", lambda: call("mq_unlink", b"layercut-test"))
"""

SEGMENT = "tried('number', lambda: call('shmget', 0, 4096, 0o1600))"
REMOVED = "tried('removing', lambda: call('shmctl', int(sys.argv[1]), 0, 0))"


def test_nothing_is_shared_by_number_or_name() -> None:
    made = run_free(SEGMENT)["number"]
    if not made.startswith("got"):
        pytest.skip(f"this kernel shares nothing by number: {made}")
    number = made.split()[1]
    try:
        assert got(run_filtered(SHARED, number)) == set()
        assert got(run_free(SHARED, number)) >= {"a segment", "a segment of another's", "of whom it is"}
    finally:
        run_free(REMOVED, number)


EACH = """
for name in sys.argv[1:]:
    if number_of(name, os.uname().machine) is not None:
        tried(name, lambda: call(name, *[-1] * 6))
"""


def test_each_call_on_the_list_is_refused_by_the_filter_whatever_it_is_given() -> None:
    said = run_filtered(EACH, *REFUSED_CALLS, *UNKNOWN_CALLS)
    expected = {name: "EPERM" if name in REFUSED_CALLS else "ENOSYS" for name in said}
    assert len(said) > 100
    assert {name: _error(outcome) for name, outcome in said.items()} == expected


def _error(outcome: str) -> str:
    return {"PermissionError(1": "EPERM", "OSError(38": "ENOSYS"}.get(outcome.split(", ")[1], outcome)


OTHER_NUMBERS = """
import mmap
tried("x32", lambda: call(0x40000000 | 39))
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov $20, %eax; int $0x80; ret: getpid by its number of 32 bits
enter = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
child = os.fork()
if not child: os._exit(0 if enter() == os.getpid() else 1)
print("32 bits:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 has three sets of numbers")
def test_calls_by_another_set_of_numbers_are_none() -> None:
    said = run_filtered(OTHER_NUMBERS)
    assert _error(said["x32"]) == "EPERM"
    if run_free(OTHER_NUMBERS)["32 bits"] != "0":
        pytest.skip("this kernel takes no calls of 32 bits")
    assert said["32 bits"] == "-31"  # SIGSYS
