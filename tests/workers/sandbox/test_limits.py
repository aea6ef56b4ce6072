"""A runner that takes too much: memory, processes, a file, CPU time; and its children with it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.confined import Confined
from tests.support.processes import eventually
from workers.sandbox.groups import host_memory
from workers.sandbox.limits import allow_mapped, limit_cpu

MEMORY = """
import mmap, subprocess
def take(size):
    try: return len(bytearray(size))
    except MemoryError as error: raise OSError(12, "no memory")
tried("a little", lambda: take(2**20))
tried("too much", lambda: take(3 * 2**30))
code = "import sys\\ntry: bytearray(3 * 2**30); print('had it')\\nexcept MemoryError: sys.exit('no memory')"
child = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
print("by a child: refused, " + child.stderr.strip() if not child.stdout else "by a child: " + child.stdout)
"""


def test_memory_beyond_the_limit_is_refused_and_to_its_children_too(confined: Confined) -> None:
    said = confined.outcomes(MEMORY)
    assert said["a little"] == f"got {2**20}"
    assert said["too much"].startswith("refused")
    assert said["by a child"] == "refused, no memory"


FORKS = """
import time
children = []
def bomb():
    for _ in range(500):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        children.append(child)
tried("a fork bomb", bomb)
print("children:", len(children))
for child in children: os.kill(child, 9)
"""


def test_a_fork_bomb_ends_at_the_limit_and_costs_the_next_runner_nothing(confined: Confined) -> None:
    (limits,) = (measure for measure in confined.sandbox.report.measures if measure.name == "limits")
    if "not its processes" in limits.detail:
        pytest.skip("root's processes are not counted here, and there is no control group to be had")
    said = confined.outcomes(FORKS)
    assert said["a fork bomb"].startswith("refused")
    assert int(said["children"]) <= 64
    # What the bomb left may not be reaped yet.
    after = confined.outcomes("tried('a child', lambda: os.waitpid(os.fork() or os._exit(0), 0)[1])")
    assert after == {"a child": "got 0"}


FILE = """
def large():
    with open("large", "wb") as file:
        for _ in range(3): file.write(bytes(2**20)); file.flush()
tried("a large file", large)
tried("a hole", lambda: os.truncate(os.open("hole", os.O_CREAT | os.O_RDWR), 2**40))
tried("files", lambda: [open(os.devnull) for _ in range(10000)])
tried("a core dump", lambda: __import__("resource").getrlimit(4))
"""


def test_files_are_limited_in_size_and_number_and_no_core_is_written(confined: Confined) -> None:
    said = confined.outcomes(FILE)
    assert said.pop("a core dump") == "got (0, 0)"
    assert {what: outcome for what, outcome in said.items() if not outcome.startswith("refused")} == {}
    assert (confined.folder / "tmp" / "large").stat().st_size == 2**20


def test_cpu_time_is_limited_from_outside_at_the_handover() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"]) as spinning:
        limit_cpu(spinning.pid, 1)
        assert spinning.wait(30) == -signal.SIGXCPU


def test_what_is_mapped_is_allowed_beside_what_is_taken() -> None:
    code = f"import resource; resource.setrlimit({resource.RLIMIT_DATA}, (1000, -1)); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as limited:
        assert limited.stdout is not None
        limited.stdout.readline()
        allow_mapped(limited.pid, 500)
        assert resource.prlimit(limited.pid, resource.RLIMIT_DATA)[0] == 1500
        limited.kill()


def test_the_host_has_memory_and_no_more_than_it_has() -> None:
    assert 2**28 < host_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


HIDDEN = """
import sys, time
from workers.sandbox.kernel import hide_process
hide_process()
print("hidden", flush=True)
sys.stdin.read()
"""


def test_a_hidden_process_shows_its_environment_to_root_alone(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "SECRET": "x"}
    with subprocess.Popen(
        [sys.executable, "-c", HIDDEN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as hidden:
        assert hidden.stdout is not None
        assert hidden.stdout.readline() == b"hidden\n"
        eventually(lambda: Path(f"/proc/{hidden.pid}/environ").stat().st_uid == 0)
        hidden.kill()
