"""Who was killed for want of memory is told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from api_schemas.jobs import Status
from tests.support.supervisor_rig import Rig
from workers.sandbox.groups import Groups, own_group, remove_groups
from workers.supervision import memory_kills
from workers.supervision.memory_kills import Counted, MemoryKills

EATS = """
import sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text("0")
kept = bytearray(512 * 2**20)
for at in range(0, len(kept), 4096):
    kept[at] = 1
"""


@pytest.mark.parametrize("name", memory_kills.COUNTERS)
def test_kills_are_counted_from_when_it_is_made_and_a_neighbours_not_at_all(tmp_path: Path, name: str) -> None:
    group, above = tmp_path / "runner", tmp_path / "worker"
    for folder, kills in ((group, 2), (above, 7)):
        folder.mkdir()
        (folder / name).write_text(f"low 3\noom 9\noom_kill {kills}\n")
    found = MemoryKills([group], above)
    (above / name).write_text("oom_kill 8\n")
    assert found.since() == Counted(0, exact=True)
    (group / name).write_text("oom_kill 4\noom_group_kill 1\n")
    assert found.since() == Counted(3, exact=True)


@pytest.mark.parametrize("own", [None, "oom_kill_disable 0\nunder_oom 0\n"])
def test_where_the_runners_own_group_counts_none_the_workers_does_and_that_is_said(
    tmp_path: Path, own: str | None
) -> None:
    group, above = tmp_path / "runner", tmp_path / "worker"
    for folder, said in ((group, own), (above, "oom_kill 7\n")):
        folder.mkdir()
        if said is not None:
            (folder / "memory.oom_control").write_text(said)
    found = MemoryKills([group], above)
    assert found.since() == Counted(0, exact=False)
    (above / "memory.oom_control").write_text("oom_kill 8\n")
    assert found.since() == Counted(1, exact=False)


def test_without_control_groups_nothing_is_known(tmp_path: Path) -> None:
    assert MemoryKills([], tmp_path / "none").since().kills == 0


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The counters of the worker's own group, as a file that the test's runner can write to."""
    file = tmp_path / "group" / "memory.events"
    file.parent.mkdir()
    file.write_text("oom 0\noom_kill 0\n")
    monkeypatch.setattr(memory_kills, "own_group", lambda _: file.parent)
    return file


def test_a_runner_that_may_have_been_killed_for_memory_is_told_so(rig: Rig, counted: Path) -> None:
    job = rig.run(f"kill-for-memory:{counted}", max_attempts=1)
    assert job.error is not None
    assert (job.status, job.error.code) == (Status.FAILED, "out_of_memory")
    assert "it may have been the kernel's out-of-memory killer" in job.error.message
    assert "recovery.batch_size" in job.error.message
    assert "LAYERCUT_RUNNER_MEMORY_BYTES" in job.error.message


def test_where_no_group_counts_it_no_more_is_said_than_is_known(rig: Rig, counted: Path) -> None:
    job = rig.run("die:9", max_attempts=1)
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert (
        "killed by SIGKILL; the kernel does that when memory runs out, and nothing else was seen" in job.error.message
    )


def test_of_another_signal_no_memory_is_spoken(rig: Rig, counted: Path) -> None:
    job = rig.run("die:11", max_attempts=1)
    assert job.error is not None
    assert job.error.message.endswith("the runner was killed by SIGSEGV")


def test_a_real_kernel_counts_it() -> None:
    groups = Groups.of({"memory": 64 * 2**20})
    if "memory" not in groups.parents:
        pytest.skip(f"no control group for memory can be made here: {groups.missing['memory']}")
    made = groups.make()
    try:
        found = MemoryKills(made, own_group("memory"))
        done = subprocess.run([sys.executable, "-c", EATS, made[0]], check=False, capture_output=True, timeout=60)
        if done.returncode != -9:
            pytest.skip(f"this kernel does not kill for memory: {done.returncode} {done.stderr.decode()[-200:]}")
        assert found.since().exact
        assert found.since().kills >= 1
    finally:
        remove_groups(made)
