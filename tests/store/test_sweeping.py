"""What goes from the store: everything of the losers, whatever was left half written, and past what cannot go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from tests.support.private_mounts import run_privately
from tests.support.processes import eventually

JOB = "jobs/job_1"
WINNER = f"{JOB}/attempts/2-bb"
HOUR = 3600.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def artifacts(root: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{root}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "1_Pooling/config.json"):
        (folder / name).write_text(name)
    return folder


def plant(root: Path, path: str, age: float) -> Path:
    """A half-written file that was last written to so many seconds ago, in folders as old."""
    planted = root / path
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_bytes(b"half")
    for one in (planted, *planted.parents[: len(Path(path).parts) - 1]):
        os.utime(one, (time.time() - age,) * 2)
    return planted


def test_the_store_does_not_show_what_is_half_written(artifacts: ArtifactStore, root: Path) -> None:
    """The reason why the folder is looked at."""
    plant(root, f"{JOB}/attempts/1-aa/model.safetensors#1", 0)
    with pytest.raises(LayercutError):
        artifacts.open_range(f"{JOB}/attempts/1-aa", "model.safetensors#1", 0, 1)


def test_old_half_written_files_go_and_no_others(artifacts: ArtifactStore, root: Path, folder: Path) -> None:
    artifacts.publish(WINNER, folder)
    names = [
        f"{WINNER}/model.safetensors#1",
        f"{JOB}/checkpoint/x/weights#12",
        "cache/baseline/f/t/a#3",
        "readyz/probe#1",
    ]
    old = [plant(root, name, 2 * HOUR) for name in names]
    young = plant(root, f"{JOB}/attempts/3-cc/model.safetensors#1", HOUR / 2)

    assert artifacts.sweep_unfinished(HOUR) == len(old)
    assert [path for path in old if path.exists()] == []
    assert young.exists()
    assert len(artifacts.manifest(WINNER).files) == 3
    assert list((root / "cache").iterdir()) == [], "folders with nothing in them go, too"
    assert artifacts.sweep_unfinished(HOUR) == 0


def test_a_folder_that_a_file_is_about_to_come_to_stays(artifacts: ArtifactStore, root: Path) -> None:
    (root / JOB / "attempts").mkdir(parents=True)
    artifacts.sweep_unfinished(HOUR)
    assert (root / JOB / "attempts").is_dir()


def test_losers_go_with_what_they_left_half_written(artifacts: ArtifactStore, root: Path, folder: Path) -> None:
    artifacts.publish(WINNER, folder)
    artifacts.publish(f"{JOB}/attempts/1-aa", folder)
    for name in ("attempts/1-aa/model.safetensors#1", "attempts/3-cc/model.safetensors#1", "checkpoint/x/weights#1"):
        plant(root, f"{JOB}/{name}", 0)

    assert artifacts.sweep("job_1", 2, WINNER) == 4 + 1, "not those of a later attempt"
    assert sorted(path.name for path in (root / JOB / "attempts").iterdir()) == ["2-bb", "3-cc"]
    assert artifacts.sweep("job_1", 3, WINNER) == 1
    assert [path.name for path in (root / JOB / "attempts").iterdir()] == ["2-bb"]
    artifacts.delete(f"{JOB}/checkpoint")
    artifacts.delete(WINNER)
    assert list((root / "jobs").iterdir()) == []


UPLOAD = """
import sys, time
from store.artifacts import ArtifactStore
def blocks():
    for _ in range(20):
        yield bytes(2**20)
    print("sent", flush=True)
    time.sleep(60)
ArtifactStore(f"file://{sys.argv[1]}").upload("jobs/job_1/attempts/1-aa").put("model.safetensors", 2**30, blocks())
"""


@pytest.mark.chaos
def test_what_a_killed_upload_leaves_is_swept(artifacts: ArtifactStore, root: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, str(root)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sent\n"
        left = eventually(lambda: [path for path in root.rglob("*") if path.is_file()])
        process.send_signal(signal.SIGKILL)
    assert [path.name for path in left] == ["model.safetensors#1"]

    assert artifacts.sweep_unfinished(HOUR) == 0
    os.utime(left[0], (time.time() - HOUR,) * 2)
    assert artifacts.sweep_unfinished(HOUR) == 1
    assert [path for path in root.rglob("*") if path.is_file()] == []


STUCK = """
import sys
from store.artifacts import ArtifactStore
from store.sweeping import NotDeletedError
artifacts = ArtifactStore(f"file://{sys.argv[1]}")
for call in (lambda: artifacts.sweep("job_1", 2, None), lambda: artifacts.sweep_unfinished(0)):
    try:
        print(call())
    except NotDeletedError as error:
        print(error.deleted, sorted(error.errors), str(error).count(chr(10)))
"""


def test_one_file_that_cannot_be_deleted_keeps_no_other(artifacts: ArtifactStore, root: Path, folder: Path) -> None:
    """A mounted file cannot, not even by root; the mount is seen by the child alone."""
    for attempt in ("1-aa", "2-bb"):
        artifacts.publish(f"{JOB}/attempts/{attempt}", folder)
    stuck, half = root / JOB / "attempts/1-aa/config.json", plant(root, "cache/k/f/t/a#1", HOUR)
    plant(root, "cache/k/f/t/b#1", HOUR)
    mounts = 'mount --bind "$2" "$2" && mount --bind "$3" "$3"'

    said = run_privately(mounts, STUCK, root, stuck, half).splitlines()

    assert said[0].startswith("7 ['jobs/job_1/attempts/1-aa/config.json']")
    assert said[1].startswith("1 ['cache/k/f/t/a#1']")
    assert sorted(path for path in root.rglob("*") if path.is_file()) == sorted([stuck, half])
    assert artifacts.sweep("job_1", 2, None) == 1


def test_a_job_of_which_only_half_a_file_is_there_is_deleted(artifacts: ArtifactStore, root: Path) -> None:
    plant(root, "jobs/job_9/attempts/1-aa/model.safetensors#1", 0)
    artifacts.delete("jobs/job_9")
    assert list((root / "jobs").iterdir()) == []


def test_in_a_folder_that_is_away_nothing_is_swept_and_nothing_is_written(
    artifacts: ArtifactStore, root: Path, folder: Path, tmp_path: Path
) -> None:
    """Else what could not be seen would count as deleted, and stay for ever."""
    artifacts.publish(WINNER, folder)
    begun = artifacts.upload(f"{JOB}/attempts/3-cc")
    away = root.rename(tmp_path / "away")
    for call in (
        lambda: artifacts.sweep("job_1", 2, None),
        lambda: artifacts.delete(JOB),
        lambda: artifacts.sweep_unfinished(0),
        lambda: artifacts.prefixes("cache"),
        lambda: begun.put("config.json", 1, [b"x"]),
        begun.finish,
    ):
        with pytest.raises(LayercutError) as refused:
            call()
        assert refused.value.code == "storage_unavailable"
    assert not root.exists()
    away.rename(root)
    assert artifacts.sweep("job_1", 2, None) == 4
