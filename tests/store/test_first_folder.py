"""A store's folder is made with the first start on a database, and by no later one: it may be away then."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.first_folder import make_folder_once
from store.jobs import JobStore
from tests.support.store_samples import Submit


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Below a mount point."""
    return tmp_path / "mount" / "artifacts"


def start(engine: Engine, root: Path) -> tuple[ArtifactStore, list[str]]:
    """A store as a process that starts has it, and what was said."""
    told: list[str] = []
    make_folder_once(engine, root, told.append)
    return ArtifactStore(f"file://{root}", mkdir=False), told


def test_a_restart_while_the_folder_is_away_makes_none(engine: Engine, root: Path, tmp_path: Path) -> None:
    running, told = start(engine, root)
    running.check()
    assert told == []
    running.upload("jobs/job_1/attempts/1-aa").put("a", 1, [b"a"])
    away = root.parent.rename(tmp_path / "away")
    root.parent.mkdir()  # the mount point is there, with nothing in it

    restarted, told = start(engine, root)
    for store in (running, restarted):
        for call in (
            store.check,
            lambda store=store: store.sweep("job_1", 1, None),
            lambda store=store: store.delete("jobs/job_1"),
            lambda store=store: store.sweep_unfinished(0),
            lambda store=store: store.manifest("jobs/job_1/attempts/1-aa"),
            lambda store=store: store.upload("jobs/job_2/attempts/1-bb").put("a", 1, [b"a"]),
        ):
            with pytest.raises(LayercutError) as refused:
                call()
            assert refused.value.code == "storage_unavailable"
    (sentence,) = told
    assert sentence.startswith(f"the artifact store's folder {root} is not there")
    assert list(root.parent.iterdir()) == []

    root.parent.rmdir()
    away.rename(root.parent)
    restarted.check()
    assert restarted.sweep("job_1", 1, None) == 1


def test_an_older_layercuts_folder_goes_on_and_is_known_from_then(
    engine: Engine, submit: Submit, root: Path, tmp_path: Path
) -> None:
    root.mkdir(parents=True)
    submit()
    assert start(engine, root)[1] == []
    root.rename(tmp_path / "away")
    assert len(start(engine, root)[1]) == 1
    assert not root.exists()


def test_an_upgrade_while_the_folder_is_away_makes_none(
    engine: Engine, store: JobStore, submit: Submit, root: Path
) -> None:
    """Nothing was noted then, but an attempt at a job had a folder."""
    submit()
    assert store.claim("worker") is not None
    assert len(start(engine, root)[1]) == 1
    assert not root.exists()
    root.mkdir(parents=True)
    start(engine, root)[0].check()


def test_a_store_without_a_folder_has_none_made(engine: Engine) -> None:
    make_folder_once(engine, None, pytest.fail)
