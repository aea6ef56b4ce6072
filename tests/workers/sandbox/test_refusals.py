"""What a runner tries that it must not be able to do. Each test says what was tried; the sandbox must refuse each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.confined import Confined
from workers.settings import WorkerSettings

FILES = """
data, other, inside, supervisor, scratch = sys.argv[1:]
def read(path): return open(path, "rb").read(1)
def write(path):
    with open(path, "ab") as file: file.write(b"x")
for path in ["/etc/passwd", "/etc/shadow", data + "/layercut.db", other, inside + "/../../../layercut.db",
             "/proc/1/environ", f"/proc/{supervisor}/environ", f"/proc/{supervisor}/cmdline", f"/proc/{supervisor}/mem",
             f"/proc/{supervisor}/maps", "/proc/net/tcp", "/proc/1/status", "/proc/self/mountinfo", "/dev/vda"]:
    tried("read " + path, lambda: read(path))
for path in ["/", "/etc", "/tmp", "/home", data, scratch + "/..", "/proc", f"/proc/{supervisor}/fd", "/dev"]:
    tried("list " + path, lambda: os.listdir(path))
for path in [data + "/layercut.db", other, "/tmp/layercut-test", "/dev/shm/layercut-test", data + "/new",
             scratch + "/inputs/new", scratch + "/shared/new", scratch + "/new", scratch + "/inputs/given",
             sys.executable, os.__file__, "/sys/kernel/mm/ksm/run", "/proc/sys/kernel/core_pattern",
             "/proc/sys/vm/overcommit_memory"]:
    tried("write " + path, lambda: write(path))
tried("truncate", lambda: os.truncate(data + "/layercut.db", 0))
tried("remove", lambda: os.remove(data + "/layercut.db"))
tried("rename in", lambda: os.rename(data + "/layercut.db", scratch + "/out/x"))
tried("link in", lambda: os.link(data + "/layercut.db", scratch + "/out/x"))
os.symlink(data + "/layercut.db", scratch + "/out/link")
tried("read through a link", lambda: read(scratch + "/out/link"))
tried("a pipe", lambda: os.mkfifo(scratch + "/out/pipe"))
tried("a device", lambda: os.mknod(scratch + "/out/device", 0o20666, os.makedev(1, 1)))
with open(scratch + "/out/program", "w") as file: file.write("#!/bin/sh\\n")
tried("run what it wrote", lambda: os.execv(scratch + "/out/program", ["x"]))
import subprocess
child = subprocess.run(["/bin/cat", data + "/layercut.db"], capture_output=True, text=True)
print("read by a child: " + ("refused, " + child.stderr.strip() if child.stdout == "" else child.stdout))
tried("a handle", lambda: os.open(f"/proc/self/cwd/../../../layercut.db", os.O_RDONLY))
"""


def test_it_reads_lists_and_writes_no_file_but_its_own(
    confined: Confined, settings: WorkerSettings, tmp_path: Path
) -> None:
    database, other = settings.data_dir / "layercut.db", tmp_path / "scratch-of-another"
    for file in (database, other, confined.folder / "inputs" / "given"):
        file.write_text("secret")
    said = confined.outcomes(FILES, settings.data_dir, other, confined.folder / "out", os.getpid(), confined.folder)
    assert {what: outcome for what, outcome in said.items() if not outcome.startswith("refused")} == {}
    assert len(said) >= 45
    assert (database.read_text(), other.read_text()) == ("secret", "secret")
    assert not Path("/tmp/layercut-test").exists()


MODES = """
for path in sys.argv[1:]:
    os.chmod(path, 0o777)
    os.utime(path, (0, 0))
    tried("attribute of " + path, lambda: os.setxattr(path, "user.x", b"1"))
"""


def test_it_changes_no_mode_time_or_attribute(confined: Confined, tmp_path: Path) -> None:
    file = tmp_path / "database"
    file.write_text("x")
    file.chmod(0o600)
    before = file.stat()
    assert all(outcome.startswith("refused") for outcome in confined.outcomes(MODES, file).values())
    assert (file.stat().st_mode, file.stat().st_mtime) == (before.st_mode, before.st_mtime)


NETWORK = """
import socket
port, path, abstract = sys.argv[1:]
tried("TCP", lambda: socket.create_connection(("127.0.0.1", int(port)), 2))
tried("UDP", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(port))))
tried("TCP over IPv6", lambda: socket.socket(socket.AF_INET6))
tried("a Unix socket", lambda: socket.socket(socket.AF_UNIX).connect(path))
tried("an abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\\0" + abstract))
tried("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried("a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
tried("vsock", lambda: socket.socket(40, socket.SOCK_STREAM))
tried("a name", lambda: socket.getaddrinfo("example.org", 80))
tried("a pair of datagram sockets", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
one, other = socket.socketpair()
tried("another address for a pair", lambda: one.sendto(b"x", path))
tried("another end for a pair", lambda: one.connect(path))
tried("a listener", lambda: one.listen())
tried("io_uring", lambda: call("io_uring_setup", 8, ctypes.create_string_buffer(120)))
"""


def test_it_reaches_no_network(confined: Confined, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind(f"\0layercut-{os.getpid()}")
            abstract.listen()
            port = tcp.getsockname()[1]
            said = confined.outcomes(NETWORK, port, tmp_path / "socket", f"layercut-{os.getpid()}")
            for listener in (tcp, unix, abstract):
                listener.setblocking(False)
                assert not _heard(listener)
    assert {what: outcome for what, outcome in said.items() if not outcome.startswith("refused")} == {}
    assert len(said) == 15


def _heard(listener: socket.socket) -> bool:
    try:
        listener.accept()
    except BlockingIOError:
        return False
    return True


PROCESSES = """
import resource, struct
supervisor = int(sys.argv[1])
tried("kill", lambda: os.kill(supervisor, 0))
tried("stop", lambda: os.kill(supervisor, 19))
tried("kill 1", lambda: os.kill(1, 0))
tried("by pidfd", lambda: __import__("signal").pidfd_send_signal(os.pidfd_open(supervisor), 0))
three = struct.pack("QQ", 3, 3)
tried("limits of another", lambda: call("prlimit64", supervisor, resource.RLIMIT_NOFILE, three, 0))
tried("its own limits", lambda: call("prlimit64", 0, resource.RLIMIT_DATA, struct.pack("qq", -1, -1), 0))
tried("priority", lambda: os.setpriority(os.PRIO_PROCESS, supervisor, 19))
def leave_group():
    child = os.fork()
    if child == 0:
        try: os.setsid()
        except OSError: os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]: raise PermissionError("the child could not")
tried("leave its group", leave_group)
tried("become root", lambda: (os.setuid(0), os.setgid(0), open("/etc/shadow")))
tried("a fork in a new namespace", lambda: call("clone", 0x10000000 | 17, 0, 0, 0, 0))
for name in ("ptrace", "process_vm_readv", "pidfd_getfd", "bpf", "keyctl", "userfaultfd", "perf_event_open", "mount",
             "unshare", "setns", "chroot", "open_by_handle_at", "kexec_load", "reboot", "init_module", "clone3"):
    tried(name, lambda: call(name, 16 if name == "ptrace" else 0, supervisor, 0, 0, 0, 0))
"""


def test_it_reaches_no_other_process_and_no_part_of_the_kernel(confined: Confined) -> None:
    said = confined.outcomes(PROCESSES, os.getpid())
    assert {what: outcome for what, outcome in said.items() if not outcome.startswith("refused")} == {}


def test_nothing_runs_where_a_measure_that_worked_does_not_any_more(confined: Confined) -> None:
    command = confined.sandbox.launch([sys.executable, "-c", "print('ran')"], confined.folder).command
    command[4] = json.dumps({**json.loads(command[4]), "groups": ["/no/such/group"]})
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (70, "")
    assert "control groups" in done.stderr
