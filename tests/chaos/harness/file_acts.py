"""What faults do to folders, files and disks. Each is a context: what is done before its ``yield`` is undone after."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.harness.scene import Act, Broken, Scene, Skipped, skipped_where
from tests.chaos.harness.services import Tmpfs, wait_until

#: The longest that a store is away.
UNMOUNT_SECONDS = 30.0


@contextmanager
def broker_folder_deleted(scene: Scene) -> Iterator[None]:
    _delete(scene.embedded.broker)
    yield


@contextmanager
def scratch_deleted(scene: Scene) -> Iterator[None]:
    """As a cleaner of temporary files does it: of any runner, one that waits most likely."""
    folders = [path for root in scene.deployment.scratch_roots for path in root.glob("runner-*")]
    if not folders:
        raise Skipped("no scratch folder is there")
    _delete(scene.rng.choice(folders))
    yield


@contextmanager
def scratch_root_deleted(scene: Scene) -> Iterator[None]:
    _delete(scene.rng.choice(scene.deployment.scratch_roots))
    yield


def _delete(folder: Path) -> None:
    """Whatever is in use of it meanwhile."""
    if not folder.exists():
        raise Skipped(f"{folder.name} is not there")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def store_away(scene: Scene) -> Iterator[None]:
    """A folder cannot be shut to root: a file stands in its place."""
    store = scene.deployment.store
    aside = store.with_name("artifacts-away")
    if not store.is_dir():
        raise Skipped("there is no store yet")
    store.rename(aside)
    try:
        store.write_text("not a folder")
        yield
    finally:
        store.unlink(missing_ok=True)
        if store.is_dir():
            shutil.copytree(store, aside, dirs_exist_ok=True)
            shutil.rmtree(store)
        aside.rename(store)


@contextmanager
def store_folder_away(scene: Scene) -> Iterator[None]:
    """As a share that is not mounted: the folder that the store lies in is not there, until it is back."""
    parent = scene.production.store.parent
    aside = parent.with_name("parent-away")
    if not scene.production.store.is_dir():
        raise Skipped("there is no store yet")
    parent.rename(aside)
    try:
        yield
    finally:
        anew = sorted(str(path.relative_to(parent)) for path in parent.rglob("*"))
        made = parent.exists()
        if made:
            shutil.copytree(parent, aside, dirs_exist_ok=True)
            shutil.rmtree(parent)
        aside.rename(parent)
    if made:
        raise Broken("store anew", f"in its place were {anew[:5]}")


def disk_full(number: int) -> Act:
    @contextmanager
    def act(scene: Scene) -> Iterator[None]:
        disk = scene.deployment.disks[number]
        if disk.reason:
            raise Skipped(disk.reason)
        with filled(disk):
            yield

    return act


@contextmanager
def filled(disk: Tmpfs) -> Iterator[None]:
    filler = disk.folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (2**20, 2**12):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        continue
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def undeletable_file(scene: Scene) -> Iterator[None]:
    """Something is mounted on the file of an attempt that lost: to remove it is refused to root too."""
    place = _planted(scene, "0-undeletable", "held")
    mount = subprocess.run(["mount", "--bind", str(place), str(place)], check=False, capture_output=True, timeout=30)
    if mount.returncode != 0:
        raise Skipped("nothing can be mounted here")
    try:
        yield
    finally:
        # The store may be away, by another name, for some seconds.
        wait_until(lambda: _unmounted(place), UNMOUNT_SECONDS)


def _unmounted(place: Path) -> bool:
    done = subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True, timeout=30)
    return done.returncode == 0


@contextmanager
def half_uploaded(scene: Scene) -> Iterator[None]:
    """As an uploader leaves it that is killed."""
    _planted(scene, "0-half", "model.safetensors#1")
    yield


def _planted(scene: Scene, attempt: str, name: str) -> Path:
    """A file of an attempt of a job that runs: it is swept after the job's end."""
    running = scene.load.running
    if not running:
        raise Skipped("no job runs")
    folder = scene.deployment.store
    with skipped_where(OSError):
        # Never the store itself: it may be away now.
        for part in ("jobs", scene.rng.choice(running), "attempts", attempt):
            folder /= part
            folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(bytes(1000))
    return folder / name
