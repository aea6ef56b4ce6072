"""What a runner says and leaves is taken with suspicion: paths, links, notes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from api_schemas.tenants import Quotas
from store.tenants import TenantStore
from tests.support.supervisor_rig import Rig
from workers.settings import WorkerSettings
from workers.supervision import memory_notes, scratch
from workers.supervision.hidden_paths import PathHider
from workers.supervision.memory_notes import NAME, Notes, lend_notes, notes_of, take_notes


def test_folders_of_the_host_are_left_out_of_what_is_told(tmp_path: Path) -> None:
    hide = PathHider(tmp_path / "runner-abc")
    library = Path(os.__file__)

    assert hide(f"cannot read {tmp_path}/runner-abc/inputs/model/x.json") == "cannot read inputs/model/x.json"
    assert hide(f'File "{library}", line 3') == 'File "os.py", line 3'
    assert sys.prefix not in hide(f"{sys.prefix}/lib/python3/site-packages/torch/nn.py")
    assert hide("/models/bert is the user's own") == "/models/bert is the user's own"


def noted(folder: Path, notes: object) -> Path:
    """A runner's folder with these notes."""
    folder.mkdir()
    (folder / NAME).write_text(notes if isinstance(notes, str) else json.dumps(notes))
    return folder


def test_notes_on_memory_go_from_one_runner_to_the_next_of_its_pool(tmp_path: Path) -> None:
    first = noted(tmp_path / "first", {"bert": {"rows": 16, "at": 1.0}})
    second, third = tmp_path / "second", tmp_path / "third"
    second.mkdir()
    third.mkdir()

    take_notes(notes_of(tmp_path, "team-a"), first)
    lend_notes(notes_of(tmp_path, "team-a"), second)
    lend_notes(notes_of(tmp_path, "team-b"), third)

    assert json.loads((second / NAME).read_text()) == {"bert": {"rows": 16, "at": 1.0}}
    assert list(third.iterdir()) == [], "what others train is not told"
    assert WorkerSettings(data_dir=tmp_path).micro_batches.name == NAME


def test_notes_that_cannot_be_kept_leave_no_checkpoint_behind(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.settings.memory_root.parent.mkdir(parents=True, exist_ok=True)
    rig.settings.memory_root.write_text("no folder")
    job = rig.run("checkpoint:1", "learn:bert=8", "fail:training_diverged")

    assert "cannot keep the notes" in caplog.text
    assert not (rig.settings.checkpoint_root / job.id).exists()


def test_a_tenant_learns_nothing_of_another_and_cannot_slow_it_down(rig: Rig, tmp_path: Path) -> None:
    rig.settings.allow_unconfined = True
    for tenant in ("team-a", "team-b", "team-c"):
        TenantStore(rig.engine).create(tenant, tenant, Quotas(), shared_baselines=tenant != "team-c")

    def heard(tenant: str) -> str:
        heard = tmp_path / f"heard-{tenant}"
        rig.submit(f"recall:{heard}", "succeed", tenant=tenant)
        assert rig.supervisor.work()
        return heard.read_text()

    rig.submit("learn:bert=1", "succeed", tenant="team-a")
    assert rig.supervisor.work()
    assert "bert" in heard("team-a")
    assert "bert" in heard("team-b"), "they share, as they share baselines"
    assert heard("team-c") == heard("default") == ""


def test_notes_that_are_none_and_links_change_nothing(tmp_path: Path) -> None:
    known = notes_of(tmp_path, "default")
    take_notes(known, noted(tmp_path / "first", {"bert": {"rows": 16, "at": 1.0}}))
    wrong = [
        "[", "[" * 100_000, '{"bert": {"rows": -1, "at": 2}}', '{"bert": {"rows": 1, "at": NaN}}',
        '{"bert": {"rows": 1e9, "at": 2}}', '{"x": {"rows": 1}}', "a" * 10**6,
    ]  # fmt: skip
    for number, text in enumerate(wrong):
        take_notes(known, noted(tmp_path / str(number), text))
    led = tmp_path / "led"
    led.mkdir()
    (tmp_path / "secret").write_text('{"secret": {"rows": 1, "at": 3.0}}')
    (led / NAME).symlink_to(tmp_path / "secret")
    take_notes(known, led)

    assert json.loads(known.read_text()) == {"bert": {"rows": 16, "at": 1.0}}


def test_nothing_was_learnt_in_the_future(tmp_path: Path) -> None:
    """Or it would be believed for ever, and what others learn would go first."""
    known = notes_of(tmp_path, "default")
    take_notes(known, noted(tmp_path / "first", {"bert": {"rows": 1, "at": 1e300}}))
    assert json.loads(known.read_text())["bert"]["at"] <= time.time()


def test_what_the_runners_of_two_workers_learn_at_once_is_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = notes_of(tmp_path, "default")
    folders = [noted(tmp_path / name, {name: {"rows": 1, "at": 1.0}}) for name in ("first", "second")]
    read, has_read, go = memory_notes._read, threading.Event(), threading.Event()

    def slow(folder: Path) -> Notes:
        found = read(folder)
        if folder == known.parent and not has_read.is_set():
            has_read.set()
            go.wait(20)
        return found

    monkeypatch.setattr(memory_notes, "_read", slow)
    first, second = (threading.Thread(target=take_notes, args=(known, folder)) for folder in folders)
    first.start()
    assert has_read.wait(20)
    second.start()
    second.join(0.2)  # it ends here, where nothing keeps them apart
    go.set()
    for thread in (first, second):
        thread.join(20)
    assert json.loads(known.read_text()).keys() == {"first", "second"}


@pytest.mark.parametrize(("space", "ended"), [(None, -signal.SIGKILL), ("pid:[1]", 0)], ids=["here", "elsewhere"])
def test_what_still_works_in_a_folder_is_ended_but_not_what_has_its_number_in_another_container(
    tmp_path: Path, space: str | None, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = scratch.Scratch(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, process_group=0) as process:
        left.note_group(process.pid)
        os.close(left._lock)  # as of a worker that is dead
        with monkeypatch.context() as patched:
            if space is not None:
                patched.setattr(os, "readlink", lambda _: space)
            scratch.sweep(tmp_path)
        assert not left.folder.exists()
        process.communicate(b"\n", timeout=20)
    assert process.returncode == ended
